"""Builds against the compiler and the kernel: names, adoption, errors that lead to a real file and line, no remains."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath import build, libbpf
from ebpflb.datapath.build import Build, BuildSpec, build_programs
from ebpflb.datapath.kernel_sockets import socket_bits
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import (
    L3_PROGRAMS,
    LATER_PROGRAMS,
    SOCKET_PROGRAMS,
    UPLINK_IN,
    XDP_IN,
    programs_of,
)
from ebpflb.datapath.source import bpf_directory
from ebpflb.errors import BuildError
from tests.prog import budgets as budgets_file
from tests.prog.fixtures_maps import BPFFS
from tests.prog.harness import SIZES, Datapath
from tests.prog.world import packed

pytestmark = pytest.mark.root

WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-function",  # headers are inlined into the main file, where clang expects every function to be used
)


@pytest.fixture
def new_spec() -> Iterator[Callable[[Family], BuildSpec]]:
    """Give the constants of instances of this test's own, and remove what was pinned for them."""
    made = []

    def make(family: Family) -> BuildSpec:
        pins = Pins(BPFFS, f"progtest-{uuid4().hex[:12]}")
        made.append(pins)
        pins.create_folders(family)
        return BuildSpec(
            family,
            pins.maps(family),
            pins.progs(family),
            hz=250,
            host_netns_cookie=1,
            hairpin_address=packed("hairpin", family),
            sizes=SIZES,
        )

    yield make
    for pins in made:
        pins.remove()


@pytest.fixture
def spec(new_spec: Callable[[Family], BuildSpec]) -> BuildSpec:
    """Give one for what does not depend on the family."""
    return new_spec(Family.IPV4)


def program_ids(built: Build) -> dict[str, int]:
    ids = {}
    for stem, pin in built.pins.items():
        with libbpf.obj_get(pin) as handle:
            ids[stem] = libbpf.prog_info(handle).id
    return ids


def absent(built: Build) -> set[str]:
    return {stem for stem, pin in built.pins.items() if not pin.exists()}


def map_id(pin: Path) -> int:
    with libbpf.obj_get(pin) as handle:
        return libbpf.map_info(handle).id


def map_ids(spec: BuildSpec) -> dict[str, int]:
    return {pin.name: map_id(pin) for pin in spec.maps.iterdir()}


LENGTH = "\tu32 length = lb_longest_segment(ctx, packet) + extra;\n"
"""A line of bpf/lb/fib_tc.h that stands there once."""


def pinned(spec: BuildSpec) -> set[str]:
    return {path.name for path in spec.progs.iterdir()}


def broken_sources(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, old: str, new: str) -> int:
    """Have the build use sources in which ``old`` is ``new``; return the line where it stands."""
    sources = shutil.copytree(bpf_directory(), folder / "bpf")
    text = (sources / name).read_text()
    assert text.count(old) == 1
    (sources / name).write_text(text.replace(old, new))
    monkeypatch.setattr(build, "bpf_directory", lambda: sources)
    return text[: text.index(old)].count("\n") + 1


def bpftool_program(number: int) -> dict[str, object]:
    command = ["bpftool", "--json", "prog", "show", "id", str(number)]
    shown: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return shown


def maps_of(program: int) -> list[int]:
    ids = bpftool_program(program)["map_ids"]
    assert isinstance(ids, list)
    return ids


def test_a_build_has_our_names_and_an_adopted_one_is_not_compiled(
    new_spec: Callable[[Family], BuildSpec], family: Family, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = new_spec(family)
    first = build_programs(spec)
    again = build_programs(spec)
    assert capfd.readouterr() == ("", ""), "bcc's words reached the parent"
    assert (first.compiled, again.compiled) == (True, False)
    assert (again.key, again.pins) == (first.key, first.pins)
    assert pinned(spec) == {first.key}
    assert first.pins.keys() == {program.stem for program in programs_of(family)}
    for program in programs_of(family):
        with libbpf.obj_get(first.pins[program.stem]) as handle:
            info = libbpf.prog_info(handle)
        assert (info.name, info.type) == (program.name(family), program.type)
        assert bpftool_program(info.id)["name"] == info.name


def test_every_program_is_within_its_budget(datapath_of: Callable[[Family], Datapath], family: Family) -> None:
    measured_on, budgets = budgets_file.read_budgets()
    rows = budgets_file.compare(budgets_file.sizes_of(datapath_of(family).build), budgets)
    assert {row.program for row in rows} == {name for name in budgets if name.endswith(str(family.value))}
    assert [word for row in rows for word in row.excess(same_kernel=measured_on == budgets_file.kernel_series())] == []


def test_another_constant_is_another_build_over_the_same_maps(spec: BuildSpec) -> None:
    first = build_programs(spec)
    maps, programs = map_ids(spec), program_ids(first)
    other = build_programs(replace(spec, hz=1000))
    assert other.compiled
    assert other.key != first.key
    assert map_ids(spec) == maps
    assert program_ids(first) == programs
    assert set(program_ids(other).values()).isdisjoint(programs.values())
    assert pinned(spec) == {first.key, other.key}


def test_a_build_that_is_not_whole_is_made_again(spec: BuildSpec) -> None:
    """Interrupted before it was renamed, or robbed of a pin."""
    first = build_programs(spec)
    (spec.progs / first.key).rename(spec.progs / f"{first.key}-staging")
    second = build_programs(spec)
    second.pins["lb_out"].unlink()
    third = build_programs(spec)
    assert (second.compiled, third.compiled) == (True, True)
    assert first.key == second.key == third.key
    assert pinned(spec) == {first.key}
    assert program_ids(third).keys() == first.pins.keys()


def test_what_is_left_for_later_is_built_when_it_is_asked_for(spec: BuildSpec) -> None:
    later = {program.stem for program in LATER_PROGRAMS}
    first = build_programs(spec, later=LATER_PROGRAMS)
    assert absent(first) == later
    assert first.instructions.keys() == first.pins.keys() - later
    assert not first.complete(SOCKET_PROGRAMS)
    assert (first.complete((XDP_IN,)), first.complete((XDP_IN,))) == (True, False)
    assert absent(first) == later - {XDP_IN.stem}
    assert build_programs(spec, later=LATER_PROGRAMS).complete(L3_PROGRAMS)
    again = build_programs(spec)
    assert (again.compiled, again.key) == (False, first.key)
    assert program_ids(again).keys() == first.pins.keys()
    assert pinned(spec) == {first.key}


def test_what_programs_built_later_begin_the_others_finish(spec: BuildSpec) -> None:
    """The tail calls, and what is known of the packet at hand, are the same maps."""
    first = build_programs(spec, later=LATER_PROGRAMS)
    first.complete(L3_PROGRAMS)
    folder = spec.progs / first.key
    own = {map_id(folder / name) for name in ("tails", "work")}
    for program in (UPLINK_IN, *L3_PROGRAMS):
        with libbpf.obj_get(first.pins[program.stem]) as handle:
            assert own <= set(maps_of(libbpf.prog_info(handle).id)), program.stem


def test_maps_have_btf_whichever_program_is_built_without_debug_info(spec: BuildSpec) -> None:
    build_programs(spec)
    for pin in spec.maps.iterdir():
        with libbpf.obj_get(pin) as handle:
            assert libbpf.map_info(handle).btf_id, f"{pin.name} carries no BTF"


def test_a_compile_error_names_the_real_file_and_line(
    spec: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = broken_sources(monkeypatch, tmp_path, "lb/fib_tc.h", LENGTH, "\tu32 length = nonsense;\n")
    with pytest.raises(BuildError, match=rf"bpf/lb/fib_tc\.h:{line}:\d+: error: .*nonsense") as caught:
        build_programs(spec)
    assert f"the {spec.family.name} programs cannot be built" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert pinned(spec) == set()
    assert capfd.readouterr() == ("", "")


def test_an_error_in_an_entry_file_names_it_behind_its_headers(
    spec: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = "int LB_NAME(lb_uplink_in)"
    line = broken_sources(monkeypatch, tmp_path, "lb_tc.c", good, f"nonsense {good}")
    with pytest.raises(BuildError, match=rf"bpf/lb_tc\.c:{line}:\d+: error: "):
        build_programs(spec)
    assert pinned(spec) == set()


def test_the_verifiers_words_are_passed_on_and_nothing_is_left(
    spec: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The socket programs load before the packet programs are refused: their pins must go as well."""
    fault = "\treturn *(volatile int *)(unsigned long)lb_fast(ctx, ETH_HLEN, LB_FROM_UPLINK);\n"
    broken_sources(monkeypatch, tmp_path, "lb_tc.c", "\treturn lb_fast(ctx, ETH_HLEN, LB_FROM_UPLINK);\n", fault)
    with pytest.raises(BuildError, match=r"@ lb_tc\.c:\d+[^@]*invalid mem access"):
        build_programs(spec)
    assert pinned(spec) == set()


def test_a_failed_build_leaves_the_last_one_alone(
    spec: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = build_programs(spec)
    programs = program_ids(good)
    broken_sources(monkeypatch, tmp_path, "lb/fib_tc.h", LENGTH, "\tu32 length = nonsense;\n")
    with pytest.raises(BuildError):
        build_programs(spec)
    assert pinned(spec) == {good.key}
    assert program_ids(good) == programs


OTHER_CONSTANTS: dict[str, Any] = {
    "have_set_retval": False,
    "protect_node_ports": False,
    "answer_ping": False,
    "socket_bits": socket_bits(),
}


@pytest.mark.parametrize("changes", [{}, OTHER_CONSTANTS], ids=["usual", "other"])
def test_the_compiler_has_nothing_to_say(
    new_spec: Callable[[Family], BuildSpec],
    monkeypatch: pytest.MonkeyPatch,
    family: Family,
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr(build, "_DIALECT", (*build._DIALECT, *WARNINGS))
    assert build_programs(replace(new_spec(family), **changes)).compiled


def test_the_compilers_warnings_would_be_errors(
    spec: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "_DIALECT", (*build._DIALECT, *WARNINGS))
    line = broken_sources(monkeypatch, tmp_path, "lb/fib_tc.h", LENGTH, "\tlong unused;\n" + LENGTH)
    with pytest.raises(BuildError, match=rf"bpf/lb/fib_tc\.h:{line}:\d+: error: unused variable 'unused'"):
        build_programs(spec)
