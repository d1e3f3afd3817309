"""One text out of many files: every line keeps its name and number, every header comes once."""

import re
from pathlib import Path

import pytest

from ebpflb.datapath import source
from ebpflb.datapath.source import bpf_directory, inline_source
from ebpflb.errors import BuildError

_LINE = re.compile(r'#line (\d+) "bpf/(.+)"\n')


def write(folder: Path, **texts: str) -> Path:
    """Write files; ``__`` in a name stands for a slash, a single ``_`` before the suffix for the dot."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_c", ".c").replace("_h", ".h")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def origins(text: str) -> list[tuple[str, int, str]]:
    """Read a text as a compiler does: the file, line number and content of each line."""
    name, number, found = "", 0, []
    for line in text.splitlines(keepends=True):
        marker = _LINE.fullmatch(line)
        if marker:
            number, name = int(marker[1]), marker[2]
            continue
        found.append((name, number, line))
        number += 1
    return found


def test_includes_are_replaced_where_they_stand(tmp_path: Path) -> None:
    write(tmp_path, a_c='one\n#include "lb/b.h"\ntwo\n', lb__b_h="b\n")
    assert inline_source("a.c", tmp_path) == (
        '#line 1 "bpf/a.c"\none\n#line 1 "bpf/lb/b.h"\nb\n#line 3 "bpf/a.c"\ntwo\n'
    )


def test_each_file_comes_once_also_in_a_circle(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_c='#include "lb/b.h"\n#include "lb/d.h"\n#include "lb/b.h"\nend\n',
        lb__b_h='#include "lb/d.h"\nb\n',
        lb__d_h='#include "lb/b.h"\nd\n',
    )
    assert origins(inline_source("a.c", tmp_path)) == [
        ("lb/d.h", 2, "d\n"),
        ("lb/b.h", 2, "b\n"),
        ("a.c", 4, "end\n"),
    ]


@pytest.mark.parametrize("line", ["#include <linux/ip.h>\n", '#include "other/b.h"\n', '/* #include "lb/b.h" */\n'])
def test_other_lines_stay(tmp_path: Path, line: str) -> None:
    write(tmp_path, a_c=line)
    assert inline_source("a.c", tmp_path) == f'#line 1 "bpf/a.c"\n{line}'


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, a_c='#include "lb/b.h"\n')
    with pytest.raises(BuildError, match=re.escape(f"cannot read {tmp_path}/lb/b.h: No such file or directory")):
        inline_source("a.c", tmp_path)


@pytest.mark.parametrize("main", ["lb_sock.c", "lb_tc.c", "lb_tc_l3.c"])
def test_every_line_of_the_programs_keeps_its_place(main: str) -> None:
    found = origins(inline_source(main, bpf_directory()))
    files = {name: (bpf_directory() / name).read_text().splitlines(keepends=True) for name, _number, _line in found}
    assert {"lb/abi.h", "lb/maps.h", "lb/frontend.h", main} <= files.keys()
    for name, number, line in found:
        assert files[name][number - 1] == line
    kept = {(name, number) for name, number, _line in found}
    dropped = {
        line.strip()
        for name, lines in files.items()
        for number, line in enumerate(lines, start=1)
        if (name, number) not in kept
    }
    assert all(line.startswith('#include "lb/') for line in dropped)
    assert len(kept) == len(found)


def test_sources_are_found_in_the_package_before_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(source, "files", lambda _name: tmp_path / "package")
    with pytest.raises(BuildError, match=r"the C sources are neither in .*/package/_bpf nor in .*/bpf; install"):
        bpf_directory()
    for folder in (tmp_path / "bpf", tmp_path / "package" / "_bpf"):
        (folder / "lb").mkdir(parents=True)
        (folder / "lb" / "abi.h").touch()
        assert bpf_directory() == folder
