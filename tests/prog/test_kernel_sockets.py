"""Where this kernel says whose a socket is, as far as a program may look there."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ebpflb.datapath.btf import Bit
from ebpflb.datapath.kernel_sockets import SocketBits, _is_readable, socket_bits

pytestmark = pytest.mark.root

VMLINUX = Path("/sys/kernel/btf/vmlinux")


def offset_of(struct: str, member: str) -> int:
    """Ask bpftool for a member's place in bits."""
    command = ["bpftool", "--json", "btf", "dump", "file", str(VMLINUX)]
    types: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["types"]
    (found,) = (
        each
        for row in types
        if (row["kind"], row["name"]) == ("STRUCT", struct)
        for each in row["members"]
        if each["name"] == member
    )
    return int(found["bits_offset"])


def test_the_bits_are_where_bpftool_says() -> None:
    kernel, mptcp = offset_of("sock", "sk_kern_sock"), offset_of("tcp_sock", "is_mptcp")
    assert socket_bits() == SocketBits(Bit(kernel // 8, 1 << kernel % 8), Bit(mptcp // 8, 0xFF))


@pytest.mark.parametrize("content", [None, b"", b"no BTF at all, and longer than its header", b"\x9f\xeb"])
def test_without_btf_nothing_is_known(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "vmlinux"
    if content is not None:
        path.write_bytes(content)
    assert socket_bits(path) == SocketBits()


def test_a_place_that_the_verifier_forbids_is_not_used() -> None:
    assert _is_readable(socket_bits().kernel)
    assert not _is_readable(Bit(byte=30_000, mask=1)), "behind the end of struct tcp_sock"
    assert not _is_readable(Bit(byte=40_000, mask=1)), "beyond what an instruction can name"
