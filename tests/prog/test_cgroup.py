"""Attachment of socket programs to a child cgroup, seen by processes in it."""

import ctypes
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ebpflb.datapath import bpfabi, libbpf
from ebpflb.datapath.cgroup import attach_cgroup, detach_cgroup
from ebpflb.errors import MapError, PrerequisiteError
from tests.descriptors import open_descriptors

pytestmark = pytest.mark.root

ALLOW, DENY = 1, 0
CONNECT4, SENDMSG4, CONNECT6 = 10, 14, 11
SOCK_ADDR = 18


class _ProgLoadOpts(ctypes.Structure):
    """The head of ``struct bpf_prog_load_opts``."""

    _fields_ = (("sz", ctypes.c_size_t), ("attempts", ctypes.c_int), ("expected_attach_type", ctypes.c_uint32))


@pytest.fixture
def pins() -> Iterator[Path]:
    folder = Path("/sys/fs/bpf") / f"ebpflb-test-{uuid4().hex[:12]}"
    (folder / "links").mkdir(parents=True)
    yield folder
    for pin in [path for path in folder.rglob("*") if not path.is_dir()]:
        pin.unlink()
    (folder / "links").rmdir()
    folder.rmdir()


def child_cgroup() -> Path:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next(Path(target) for _, target, kind, *_ in mounts if kind == "cgroup2")
    folder = root / f"ebpflb-test-{uuid4().hex[:12]}"
    folder.mkdir()
    return folder


@pytest.fixture
def cgroups() -> Iterator[Callable[[], Path]]:
    made: list[Path] = []

    def make() -> Path:
        made.append(child_cgroup())
        return made[-1]

    yield make
    for folder in made:
        if folder.exists():
            folder.rmdir()


@pytest.fixture
def cgroup(cgroups: Callable[[], Path]) -> Path:
    return cgroups()


def load(pins: Path, name: str, attach_type: int, verdict: int) -> Path:
    """Pin a program that returns ``verdict``."""
    instructions = struct.pack("=BBhi", 0xB7, 0, 0, verdict) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    options = _ProgLoadOpts(sz=ctypes.sizeof(_ProgLoadOpts), expected_attach_type=attach_type)
    pin = pins / f"{name}-{uuid4().hex[:6]}"
    result = libbpf.call("bpf_prog_load", SOCK_ADDR, name.encode(), b"GPL", instructions, 2, ctypes.byref(options))
    with libbpf.own("load", name, result) as program:
        libbpf.obj_pin(program, pin)
    return pin


def may_connect(cgroup: Path) -> bool:
    """Connect a UDP socket (which sends nothing) from a process in the cgroup."""
    script = (
        "import os, pathlib, socket, sys\n"
        "pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()))\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:\n"
        "    try: client.connect(('127.0.0.1', 9))\n"
        "    except PermissionError: print('denied')\n"
        "    else: print('connected')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, cgroup], check=True, capture_output=True, text=True)
    return done.stdout == "connected\n"


def link_id(pin: Path) -> int:
    info = bpfabi.CgroupLinkInfo()
    with libbpf.obj_get(pin) as link:
        libbpf.read_info(link, info)
    return int(info.id)


def test_a_program_acts_until_it_is_detached(pins: Path, cgroup: Path) -> None:
    links = pins / "links"
    deny = load(pins, "lb_connect4", CONNECT4, DENY)
    assert may_connect(cgroup)
    assert attach_cgroup({"lb_connect4": deny}, cgroup, links) == [f"lb_connect4: attached to cgroup {cgroup}"]
    assert not may_connect(cgroup)
    assert detach_cgroup(["lb_connect4", "lb_sendmsg4"], links) == ["lb_connect4: detached"]
    assert may_connect(cgroup)
    assert detach_cgroup(["lb_connect4"], links) == []


def test_an_identical_program_is_adopted(pins: Path, cgroup: Path) -> None:
    programs = {
        "lb_connect4": load(pins, "lb_connect4", CONNECT4, DENY),
        "lb_sendmsg4": load(pins, "lb_sendmsg4", SENDMSG4, ALLOW),
        "lb_connect6": load(pins, "lb_connect6", CONNECT6, ALLOW),
    }
    assert len(attach_cgroup(programs, cgroup, pins / "links")) == 3
    before = {name: link_id(pins / "links" / name) for name in programs}
    assert attach_cgroup(programs, cgroup, pins / "links") == [f"{name}: adopted" for name in sorted(programs)]
    assert {name: link_id(pins / "links" / name) for name in programs} == before


def test_another_program_replaces_the_first_in_the_same_link(pins: Path, cgroup: Path) -> None:
    links = pins / "links"
    attach_cgroup({"lb_connect4": load(pins, "lb_connect4", CONNECT4, DENY)}, cgroup, links)
    before = link_id(links / "lb_connect4")
    allow = load(pins, "lb_connect4", CONNECT4, ALLOW)
    assert attach_cgroup({"lb_connect4": allow}, cgroup, links) == ["lb_connect4: adopted, program replaced"]
    assert link_id(links / "lb_connect4") == before
    assert may_connect(cgroup)


def test_a_link_of_another_cgroup_moves(pins: Path, cgroups: Callable[[], Path]) -> None:
    links, first, second = pins / "links", cgroups(), cgroups()
    programs = {"lb_connect4": load(pins, "lb_connect4", CONNECT4, DENY)}
    attach_cgroup(programs, first, links)
    (done,) = attach_cgroup(programs, second, links)
    assert "anew" in done
    assert may_connect(first)
    assert not may_connect(second)
    assert [path.name for path in links.iterdir()] == ["lb_connect4"]


def test_a_link_whose_cgroup_is_gone_is_made_anew(pins: Path, cgroups: Callable[[], Path]) -> None:
    links, first = pins / "links", cgroups()
    programs = {"lb_connect4": load(pins, "lb_connect4", CONNECT4, DENY)}
    attach_cgroup(programs, first, links)
    first.rmdir()
    second = cgroups()
    (done,) = attach_cgroup(programs, second, links)
    assert "anew" in done
    assert not may_connect(second)


def test_a_run_that_died_while_replacing_does_not_stop_the_next(pins: Path, cgroups: Callable[[], Path]) -> None:
    links, first, second = pins / "links", cgroups(), cgroups()
    programs = {"lb_connect4": load(pins, "lb_connect4", CONNECT4, DENY)}
    attach_cgroup(programs, first, links)
    leftover = {"lb_connect4": programs["lb_connect4"]}
    attach_cgroup(leftover, second, pins)  # the pin below stands where a rename never came
    (pins / "lb_connect4").rename(links / "lb_connect4-new")
    attach_cgroup(programs, second, links)
    assert [path.name for path in links.iterdir()] == ["lb_connect4"]
    assert not may_connect(second)


def test_a_folder_that_is_no_cgroup_is_named(pins: Path, tmp_path: Path) -> None:
    programs = {"lb_connect4": load(pins, "lb_connect4", CONNECT4, ALLOW)}
    with pytest.raises(PrerequisiteError, match=f"{tmp_path} is not a folder of a cgroup v2 tree"):
        attach_cgroup(programs, tmp_path, pins / "links")
    with pytest.raises(PrerequisiteError, match="No such file"):
        attach_cgroup(programs, tmp_path / "missing", pins / "links")


def test_a_program_of_another_hook_is_refused(pins: Path, cgroup: Path) -> None:
    programs = {"lb_connect6": load(pins, "lb_connect4", CONNECT4, ALLOW)}
    with pytest.raises(MapError, match="attach"):
        attach_cgroup(programs, cgroup, pins / "links")
    assert not list((pins / "links").iterdir())


def test_no_descriptor_stays_open(pins: Path, cgroup: Path) -> None:
    programs = {"lb_connect4": load(pins, "lb_connect4", CONNECT4, ALLOW)}
    attach_cgroup(programs, cgroup, pins / "links")
    before = open_descriptors()
    for _ in range(5):
        attach_cgroup(programs, cgroup, pins / "links")
    assert open_descriptors() == before
