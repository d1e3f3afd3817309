"""``ebpflb bench`` from end to end with measures of our own: what a user types, sees, and gets as an exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ebpflb.bench.figures import FIGURES, judge
from ebpflb.bench.measure import Effort, Measure, Measured, Progress, RefusedError
from ebpflb.bench.registry import SUBJECTS, Subject
from ebpflb.cli import bench, bench_screen, main
from tests.unit.bench.runs import MACHINE, RATES

Answer = Callable[[Subject], Measured]


def reach(subject: Subject) -> Measured:
    """Every target is reached exactly."""
    targets = {figure.id: figure.target for figure in FIGURES}
    return Measured([judge(name, targets[name]) for name in subject.figures])


def invoke(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, *arguments: str, efforts: list[Effort] | None = None
) -> Result:
    def load(subject: Subject) -> Measure:
        def measure(effort: Effort, progress: Progress) -> Measured:
            if efforts is not None:
                efforts.append(effort)
            progress("round 1 of [3]")
            return answer(subject)

        return measure

    monkeypatch.setattr(bench, "load", load)
    monkeypatch.setattr(bench, "this_machine", lambda: MACHINE)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("EBPFLB_DEBUG", raising=False)
    return CliRunner().invoke(main, ["bench", *arguments])


def test_a_run_that_reaches_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, reach)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["ID", "VALUE", "TARGET", "VERDICT", "SPREAD", "PEER", "FLOOR", "WHAT"]
    assert lines[1].split()[:5] == ["P1", "1.03x", "<=", "1.03", "met"]
    assert lines[-1] == f"{len(FIGURES)} of {len(FIGURES)} targets reached"
    assert f"bench: 1/{len(SUBJECTS)} TCP connect(): round 1 of [3]" in result.stderr.splitlines()


def test_what_is_missed_and_what_failed_is_listed_and_is_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(subject: Subject) -> Measured:
        if subject.module == "start":
            raise RefusedError("the agent never attached", remedy="look at its log")
        if subject.module == "requests":
            raise RefusedError("requests got lost")
        if subject.module == "memory":
            return Measured([judge("P13", 17.0, note="with IPv6"), judge("P13b", 112.0)], facts={"ipvs": "none here"})
        return reach(subject)

    result = invoke(monkeypatch, answer, "--quick")
    assert result.exit_code == 3
    _, _, below = result.stdout.partition("\n\n")
    assert below.splitlines() == [
        f"{len(FIGURES) - 3} of {len(FIGURES)} targets reached, 1 missed, 2 not measured",
        "missed:",
        "  P13 17.0 MB, target <= 16",
        "not measured:",
        "  P15 the agent never attached; look at its log",
        "  P15b the agent never attached; look at its log",
        "failed:",
        "  requests and bulk data: requests got lost",
        "notes:",
        "  P13 with IPv6",
        "peers:",
        "  ipvs: none here",
    ]


def test_what_fails_beside_the_figures_is_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(subject: Subject) -> Measured:
        if not subject.figures:
            raise RefusedError("requests got lost")
        return reach(subject)

    assert invoke(monkeypatch, answer).exit_code == 1


def test_only_what_is_named_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []

    def answer(subject: Subject) -> Measured:
        ran.append(subject.module)
        return reach(subject)

    file = tmp_path / "run.json"
    result = invoke(monkeypatch, answer, "--only", "p2,P14", "--quick", "--json", str(file))
    assert (result.exit_code, ran) == (0, ["udp_connect", "maglev"])
    told = json.loads(file.read_text(encoding="utf-8"))
    assert [each["id"] for each in told["results"]] == ["P2", "P14", "P14b"]
    assert told["run"]["command"] == "ebpflb bench --quick --only P2,P14"
    assert told["machine"]["kernel"] == MACHINE.kernel


def test_json_on_stdout_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, reach, "--only", "P2", "--json", "-")
    assert [each["met"] for each in json.loads(result.stdout)["results"]] == [True]
    assert "1 of 1 targets reached" in result.stderr


def test_a_report_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    result = invoke(
        monkeypatch, lambda each: Measured(reach(each).results, [RATES]), "--only", "P2", "--report", str(folder)
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"written: {folder / 'index.html'}"
    assert {path.name for path in folder.iterdir()} == {"index.html", "packet_rates.svg"}


def test_the_effort_reaches_the_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    efforts: list[Effort] = []
    kubeconfig = tmp_path / "admin.conf"
    kubeconfig.touch()
    invoke(monkeypatch, reach, "--only", "P2", efforts=efforts)
    invoke(monkeypatch, reach, "--only", "P2", "--quick", "--kubeconfig", str(kubeconfig), efforts=efforts)
    invoke(monkeypatch, reach, "--only", "P2", "--kubeconfig", str(kubeconfig), "--services", "60", efforts=efforts)
    assert efforts == [
        Effort(),
        Effort(is_quick=True, kubeconfig=str(kubeconfig)),
        Effort(kubeconfig=str(kubeconfig), services=60),
    ]


def test_an_interrupted_run_prints_and_writes_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(subject: Subject) -> Measured:
        if subject.module == "maglev":
            raise KeyboardInterrupt
        return reach(subject)

    file = tmp_path / "run.json"
    result = invoke(monkeypatch, answer, "--only", "P2,P14", "--json", str(file))
    assert result.exit_code == 130
    assert "  P14 interrupted before it was done" in result.stdout.splitlines()
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["run"]["interrupted"] is True
    assert [each["value"] for each in told["results"]] == [8.0, None, None]


def never(subject: Subject) -> Measured:
    raise AssertionError(f"{subject.module} ran")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "P3,P16"], "Invalid value for '--only': there is no figure P16, only P1 to P15; see"),
        (["--only", " "], "Invalid value for '--only': names no figure; see"),
        (["--json", "{folder}/none/run.json"], "--json {folder}/none/run.json: No such file or directory; name a file"),
        (["--json", "{folder}"], "--json {folder}: Is a directory; name a file"),
        (["--report", "{folder}/file"], "--report {folder}/file: File exists; name a folder"),
        (["--report", "{folder}/file/in"], "--report {folder}/file/in: Not a directory; name a folder"),
        (["--services", "60"], "--services is of a cluster; name it with --kubeconfig"),
        (["--services", "49"], "Invalid value for '--services': 49 is not in the range 50<=x<=30000"),
        (["--kubeconfig", "{folder}/none"], "Invalid value for '--kubeconfig': File '{folder}/none' does not exist"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    result = invoke(monkeypatch, never, *(each.format(folder=tmp_path) for each in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"ebpflb: {words.format(folder=tmp_path)}")
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_what_has_been_measured_is_kept_while_the_rest_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text("old", encoding="utf-8")

    def answer(subject: Subject) -> Measured:
        text = file.read_text(encoding="utf-8")
        if subject.module == "udp_connect":
            assert text == "old"
        else:
            told = json.loads(text)
            assert ([each["id"] for each in told["results"]], told["run"]["interrupted"]) == (["P2"], True)
        return reach(subject)

    assert invoke(monkeypatch, answer, "--only", "P2,P14", "--json", str(file)).exit_code == 0
    told = json.loads(file.read_text(encoding="utf-8"))
    assert ([each["id"] for each in told["results"]], told["run"]["interrupted"]) == (["P2", "P14", "P14b"], False)


def test_a_file_that_cannot_be_written_in_the_end_is_no_bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def answer(subject: Subject) -> Measured:
        folder.rmdir()
        return reach(subject)

    result = invoke(monkeypatch, answer, "--only", "P2", "--json", str(folder / "run.json"))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"ebpflb: cannot write {folder}/run.json: No such file")


def test_a_report_needs_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    result = invoke(monkeypatch, never, "--report", str(tmp_path / "report"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "pip install 'ebpflb[bench]'" in result.stderr
    assert not (tmp_path / "report").exists()


def test_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(main, ["bench", "--quick"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("ebpflb: bench needs root")


def test_help_waits_for_no_measure_and_no_plots() -> None:
    code = (
        "import sys, json\nfrom ebpflb.cli import main\n"
        "try: main(['bench', '--help'])\nexcept SystemExit: print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "ebpflb.bench.registry" in loaded
    assert not [
        name for name in loaded if name.startswith(("matplotlib", "ebpflb.bench.measures", "ebpflb.bench.page"))
    ]


def test_times_are_rough() -> None:
    assert [bench_screen.about(seconds) for seconds in (0.2, 41.7, 119, 121, 3_000)] == [
        *("1 s", "42 s", "119 s", "2 min", "50 min"),
    ]
