"""The dispatcher in the kernel: which frame meets which program, and what changes without a frame being lost."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath import libbpf
from ebpflb.datapath.dispatch import Dispatcher
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import BPF_PROG_TYPE_XDP
from tests.prog.fixtures_maps import BPFFS

pytestmark = pytest.mark.root

DROP, PASS, TX = 1, 2, 3
"""enum xdp_action"""
ETHERTYPES = {"IPv4": 0x0800, "IPv6": 0x86DD, "ARP": 0x0806, "VLAN": 0x8100, "length": 64}


@pytest.fixture(scope="module")
def pins() -> Iterator[Pins]:
    """Give an instance whose dispatcher is compiled once for all tests here."""
    made = Pins(BPFFS, f"xdptest-{os.getpid()}")
    yield made
    made.remove()


@pytest.fixture
def programs(pins: Pins) -> Iterator[dict[str, Path]]:
    """Give pinned programs that drop everything, and that send everything back."""
    folder = pins.root / "test"
    folder.mkdir(parents=True)
    made = {}
    for name, verdict in (("drop", DROP), ("back", TX)):
        code = bytes([0xB7, 0, 0, 0, verdict, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
        with libbpf.load_program(BPF_PROG_TYPE_XDP, f"bystander_{name}", code) as program:
            libbpf.obj_pin(program, folder / name)
        made[name] = folder / name
    yield made
    for pin in made.values():
        pin.unlink()
    folder.rmdir()


def verdicts(dispatcher: Path) -> dict[str, int]:
    with libbpf.obj_get(dispatcher) as program:
        return {
            name: libbpf.prog_test_run(program, bytes(12) + ethertype.to_bytes(2) + bytes(46)).retval
            for name, ethertype in ETHERTYPES.items()
        }


def test_families_without_a_program_and_other_frames_pass(pins: Pins) -> None:
    assert verdicts(Dispatcher(pins, {}).ready()) == dict.fromkeys(ETHERTYPES, PASS)


def test_each_family_meets_its_own_program(pins: Pins, programs: dict[str, Path]) -> None:
    both = {Family.IPV4: programs["drop"], Family.IPV6: programs["back"]}
    others = dict.fromkeys(("ARP", "VLAN", "length"), PASS)
    assert verdicts(Dispatcher(pins, both).ready()) == {"IPv4": DROP, "IPv6": TX, **others}


def test_a_successor_changes_what_a_running_dispatcher_calls(pins: Pins, programs: dict[str, Path]) -> None:
    running = Dispatcher(pins, {Family.IPV4: programs["drop"], Family.IPV6: programs["drop"]}).ready()
    with libbpf.obj_get(running) as program:
        before = libbpf.prog_info(program).id
    successor = Dispatcher(pins, {Family.IPV4: programs["back"]})
    successor.adopt()
    assert {name: verdicts(running)[name] for name in ("IPv4", "IPv6")} == {"IPv4": TX, "IPv6": PASS}
    assert successor.ready() == running
    with libbpf.obj_get(running) as program:
        assert libbpf.prog_info(program).id == before


def test_other_builds_and_half_made_ones_are_removed(pins: Pins) -> None:
    progs = pins.xdp / "progs"
    for name in ("0123456789abcdef", "fedcba9876543210-staging"):
        (progs / name).mkdir(parents=True)
    ready = Dispatcher(pins, {}).ready()
    assert list(progs.iterdir()) == [ready.parent]


def test_nothing_is_adopted_where_nothing_is(pins: Pins) -> None:
    nobody = Pins(pins.bpffs, f"{pins.instance}-none")
    Dispatcher(nobody, {}).adopt()
    Dispatcher(nobody, {}).remove()
    assert not nobody.root.exists()


def test_remove_leaves_no_pin(pins: Pins) -> None:
    dispatcher = Dispatcher(pins, {})
    dispatcher.ready()
    dispatcher.remove()
    assert not pins.xdp.exists()
