"""What a build is made of: constants as compiler flags, the key that tells builds apart, where bcc must come from."""

import platform
import re
import sys
from dataclasses import fields, replace
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath import build
from ebpflb.datapath.btf import Bit
from ebpflb.datapath.build import BuildSpec, MapSizes, bcc_version
from ebpflb.datapath.kernel_sockets import SocketBits
from ebpflb.datapath.programs import NO_ATTACH_TYPE, PACKET_PROGRAMS, SOCKET_PROGRAMS, programs_of
from ebpflb.datapath.source import bpf_directory
from ebpflb.errors import PrerequisiteError

MAX_PROGRAM_NAME = 15
SPEC = BuildSpec(
    Family.IPV4,
    maps=Path("/sys/fs/bpf/x/maps"),
    progs=Path("/sys/fs/bpf/x/progs"),
    hz=250,
    host_netns_cookie=1 << 40,
    hairpin_address=ip_address("169.254.170.1").packed,
)
CHANGES: dict[str, Any] = {
    "family": Family.IPV6,
    "maps": Path("/sys/fs/bpf/y/maps"),
    "hz": 1000,
    "host_netns_cookie": 2,
    "hairpin_address": bytes(4),
    "have_set_retval": False,
    "protect_node_ports": False,
    "socket_bits": SocketBits(Bit(byte=574, mask=2)),
}
TEXTS = {"a.c": "int x;"}


@pytest.fixture(autouse=True)
def some_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "bcc_version", lambda: "0.26.0")


def test_flags_set_every_constant_that_config_h_demands() -> None:
    text = (bpf_directory() / "lb" / "config.h").read_text()
    demanded = set(re.findall(r"!defined\((\w+)\)", text)) | {"FAMILY"}
    given = {flag.removeprefix("-D").partition("=")[0] for flag in SPEC.flags()}
    assert given == demanded


def test_instances_differ_by_what_they_note_in_packets() -> None:
    numbers = {replace(SPEC, maps=Path(f"/sys/fs/bpf/ebpflb/{name}/maps")).tc_index for name in ("a", "b", "default")}
    assert len(numbers) == 3
    assert all(0 < number <= 0xFFFF for number in numbers)


def test_flags_carry_their_values() -> None:
    assert set(SPEC.flags()) >= {
        "-DFAMILY=4",
        '-DLB_PIN_DIR="/sys/fs/bpf/x/maps"',
        "-DLB_HZ=250",
        "-DLB_HOST_NETNS_COOKIE=1099511627776ULL",
        "-DLB_HAVE_SET_RETVAL=1",
        "-DLB_MAX_FLOWS=524288",
        "-DLB_MAX_SLOT_LINES=65536",
    }


@pytest.mark.parametrize("address", ["169.254.170.1", "fe80::a9fe:aa01"])
def test_the_hairpin_addresss_words_are_the_wires_bytes(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    packed = ip_address(address).packed
    for byteorder in ("little", "big"):
        monkeypatch.setattr(sys, "byteorder", byteorder)
        (flag,) = (flag for flag in replace(SPEC, hairpin_address=packed).flags() if "HAIRPIN" in flag)
        words = [int(word) for word in flag.partition("=")[2].split(",")]
        assert b"".join(word.to_bytes(4, byteorder) for word in words) == packed


@pytest.mark.parametrize("name", CHANGES)
def test_the_key_depends_on_every_constant(name: str) -> None:
    assert build._key(replace(SPEC, **{name: CHANGES[name]}), TEXTS) != build._key(SPEC, TEXTS)


@pytest.mark.parametrize("name", [item.name for item in fields(MapSizes)])
def test_the_key_depends_on_every_size(name: str) -> None:
    other = replace(SPEC, sizes=replace(MapSizes(), **{name: 16_400}))
    assert build._key(other, TEXTS) != build._key(SPEC, TEXTS)


def test_the_key_does_not_depend_on_where_programs_are_pinned() -> None:
    assert build._key(replace(SPEC, progs=Path("/elsewhere")), TEXTS) == build._key(SPEC, TEXTS)


def test_the_key_depends_on_source_dialect_compiler_and_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [build._key(SPEC, TEXTS), build._key(SPEC, {"a.c": "int y;"})]
    for target, name, value in (
        (build, "_DIALECT", ("-O1",)),
        (build, "bcc_version", lambda: "0.29.1"),
        (platform, "release", lambda: "5.10.0-9"),
    ):
        monkeypatch.setattr(target, name, value)
        keys.append(build._key(SPEC, TEXTS))
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


def bcc_at(monkeypatch: pytest.MonkeyPatch, origin: Path | None) -> None:
    spec = None if origin is None else ModuleSpec("bcc", None, origin=str(origin))
    monkeypatch.setattr(build, "find_spec", lambda _name: spec)


def test_without_bcc_the_remedy_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    bcc_at(monkeypatch, None)
    with pytest.raises(PrerequisiteError, match=r"bcc is not installed; .*python3-bpfcc"):
        bcc_version()


def test_the_bcc_of_pypi_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bcc_at(monkeypatch, tmp_path / "__init__.py")
    with pytest.raises(PrerequisiteError, match=r"is not the BPF compiler collection; .*python3-bpfcc"):
        bcc_version()


def test_the_version_of_bcc_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libbcc.py").touch()
    bcc_at(monkeypatch, tmp_path / "__init__.py")
    monkeypatch.setattr(build, "version", lambda _name: "0.31")
    assert bcc_version() == "0.31"

    def unknown(_name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(build, "version", unknown)
    assert bcc_version() == "unknown"


def attach_types() -> dict[str, int]:
    """Read ``enum bpf_attach_type`` of the distribution's headers."""
    text = Path("/usr/include/linux/bpf.h").read_text()
    body = re.search(r"enum bpf_attach_type \{(.*?)\}", text, re.DOTALL)
    assert body is not None
    return {name: number for number, name in enumerate(re.findall(r"\bBPF_\w+", body[1]))}


HOOKS = {
    "lb_connect": "INET{}_CONNECT",
    "lb_sendmsg": "UDP{}_SENDMSG",
    "lb_recvmsg": "UDP{}_RECVMSG",
    "lb_getpeername": "INET{}_GETPEERNAME",
    "lb_post_bind": "INET{}_POST_BIND",
    "lb_release": "INET_SOCK_RELEASE",
}
MAPPED_HOOKS = {
    "lb_v6_connect4": "INET6_CONNECT",
    "lb_v6_recvmsg4": "UDP6_RECVMSG",
    "lb_v6_peername4": "INET6_GETPEERNAME",
    "lb_v6_bind4": "INET6_POST_BIND",
}
"""IPv6 hooks that have a program of the IPv4 build, too."""


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
def test_socket_programs_have_the_attach_types_of_the_kernels_headers(family: Family) -> None:
    numbers = attach_types()
    hooks = {f"{stem}{family.value}": hook.format(family.value) for stem, hook in HOOKS.items()}
    if family is Family.IPV4:
        hooks |= MAPPED_HOOKS
    programs = programs_of(family, SOCKET_PROGRAMS)
    assert {program.name(family): program.attach_type(family) for program in programs} == {
        name: numbers[f"BPF_CGROUP_{hook}"] for name, hook in hooks.items()
    }


def test_programs_have_names_that_the_kernel_takes_whole() -> None:
    names = [program.name(family) for family in Family for program in programs_of(family)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= MAX_PROGRAM_NAME
    assert {program.attach_type(Family.IPV4) for program in PACKET_PROGRAMS} == {NO_ATTACH_TYPE}


def test_the_bits_of_sockets_are_constants() -> None:
    assert {"-DLB_KERN_SOCK_MASK=0", "-DLB_MPTCP_MASK=0"} <= set(SPEC.flags())
    told = replace(SPEC, socket_bits=SocketBits(Bit(byte=574, mask=2), Bit(byte=1700, mask=128)))
    assert set(told.flags()) >= {
        *("-DLB_KERN_SOCK_BYTE=574", "-DLB_KERN_SOCK_MASK=2", "-DLB_MPTCP_BYTE=1700", "-DLB_MPTCP_MASK=128")
    }
