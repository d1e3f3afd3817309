"""The tables of docs/performance.md: made of a run's JSON, and always of the targets that hold now."""

from dataclasses import replace
from pathlib import Path

import pytest

from ebpflb.bench.document import to_json
from ebpflb.bench.figures import FIGURES, judge, unmeasured
from ebpflb.bench.render import BEGIN, END, joined, main, markdown
from ebpflb.bench.wording import target_text
from ebpflb.errors import UsageError
from tests.unit.bench.runs import MISSED, RUN

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"
PIECE = replace(RUN, results=(judge("P2", 7.0),), run=replace(RUN.run, command="ebpflb bench --only P2", failures={}))


def test_the_tables_have_every_figure_and_what_is_to_be_said() -> None:
    text = markdown(RUN)
    rows = [line for line in text.splitlines() if line.startswith("| P")]
    assert [row.split(" | ")[0] for row in rows] == [f"| {figure.id}" for figure in FIGURES]
    assert rows[0].startswith("| P1 | 1.01x | <= 1.03 | met | ±0.0040 | 149 us (iptables nft) | 16.5 us (direct) |")
    assert "1 of 24 targets reached, 1 missed, 22 not measured, by `ebpflb bench --quick` in 171 s:" in text
    assert "* P10: there is no nft\n" in text
    assert "| nft | v1.0.6 |" in text


def test_pieces_of_one_run_are_one() -> None:
    whole = joined([RUN, PIECE])
    assert [result.id for result in whole.results] == ["P1", "P6", "P10", "P2"]
    assert whole.run.command == "ebpflb bench --quick; ebpflb bench --only P2"
    assert whole.run.failures == RUN.run.failures


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (RUN, "P1 is in two files"),
        (replace(PIECE, machine=replace(RUN.machine, kernel="5.10")), "their kernel differs"),
        (replace(PIECE, machine=replace(RUN.machine, commit="def")), "their commit differs"),
    ],
)
def test_pieces_that_do_not_belong_together(piece: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        joined([RUN, piece])  # type: ignore[list-item]


def test_tables_go_between_the_marks_of_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    file.write_text(to_json(RUN), encoding="utf-8")
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert main([str(file), "--into", str(page)]) == 0
        assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\n{markdown(RUN)}\n\n{END}\nafter\n"
    assert main([str(file)]) == 0
    assert capsys.readouterr().out == f"{markdown(RUN)}\n"


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks\n", encoding="utf-8")
    file = tmp_path / "run.json"
    assert main([str(file)]) == 1
    file.write_text(to_json(RUN), encoding="utf-8")
    assert main([str(file), "--into", str(page)]) == 2
    file.write_text("[]", encoding="utf-8")
    assert main([str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("render: ") for line in lines] == [True] * 3
    assert page.read_text(encoding="utf-8") == "no marks\n"


def test_the_docs_have_every_figure_with_its_present_target() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    tables, end, _ = rest.partition(END)
    assert end
    lines = [line.split(" | ") for line in tables.splitlines() if line.startswith("| P")]
    rows = {cells[0].removeprefix("| "): cells for cells in lines}
    for figure in FIGURES:
        assert rows[figure.id][2] == target_text(unmeasured(figure.id, "")), figure.id
        assert rows[figure.id][-1].removesuffix(" |") == figure.what


def test_a_missed_target_reads_as_missed() -> None:
    assert any(line.startswith("| P6 | 0.810x | >= 0.85 | MISSED |") for line in markdown(RUN).splitlines())
    assert f"* P6: {MISSED.note}" in markdown(RUN)
