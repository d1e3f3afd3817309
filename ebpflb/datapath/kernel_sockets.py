"""How a socket program tells the kernel's own sockets (NFS, SMB) from those of processes, if this kernel lets it.

``struct sock`` has a bit for it, which no field of a program's context shows. A program may follow a pointer to the
struct where the kernel's BTF says that the bit lies. Loads the smallest program that does, so that the real ones load.

    /sys/kernel/btf/vmlinux --find_bit--> bits --a program that reads them loads?--> SocketBits, or None
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from ebpflb.datapath import libbpf
from ebpflb.datapath.btf import Bit, find_bit
from ebpflb.datapath.programs import BPF_PROG_TYPE_CGROUP_SOCK_ADDR
from ebpflb.errors import EbpflbError

_KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
_INET4_CONNECT = 10
_SKC_TO_TCP_SOCK = 137  # enum bpf_func_id; Linux 5.9
_SK = 64  # of struct bpf_sock_addr
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD_U64, _LOAD_U8, _JUMP_IF_0, _CALL, _SET, _EXIT = 0x79, 0x71, 0x15, 0x85, 0xB7, 0x95
_UNKNOWN = Bit(byte=0, mask=0)


@dataclass(frozen=True, slots=True)
class SocketBits:
    """Where ``struct tcp_sock``, which begins with ``struct sock``, says whose a socket is."""

    kernel: Bit = _UNKNOWN
    """``sk_kern_sock``: the kernel made it."""
    mptcp: Bit = _UNKNOWN
    """``is_mptcp``: it is part of an MPTCP connection, which the kernel made for a process."""

    def flags(self) -> list[str]:
        """Return the compiler flags of ``bpf/lb/config.h``."""
        bits = {"KERN_SOCK": self.kernel, "MPTCP": self.mptcp}
        return [
            flag
            for name, bit in bits.items()
            for flag in (f"-DLB_{name}_BYTE={bit.byte}", f"-DLB_{name}_MASK={bit.mask}")
        ]


def socket_bits(btf: Path = _KERNEL_BTF) -> SocketBits:
    """Return where the bits are; with nothing known where programs cannot ask."""
    try:
        data = btf.read_bytes()
        found = (find_bit(data, *where) for where in (("sock", "sk_kern_sock"), ("tcp_sock", "is_mptcp")))
        kernel, mptcp = (bit if bit and _is_readable(bit) else _UNKNOWN for bit in found)
    except (OSError, struct.error, ValueError, EbpflbError):  # no BTF, or none that can be read
        return SocketBits()
    return SocketBits(kernel, mptcp)


def _is_readable(bit: Bit) -> bool:
    sk, result = 0x11, 0x00  # registers: destination in the low four bits, source in the high ones
    code = (
        (_LOAD_U64, sk, _SK, 0),
        (_JUMP_IF_0, 0x01, 3, 0),
        (_CALL, 0, 0, _SKC_TO_TCP_SOCK),
        (_JUMP_IF_0, result, 1, 0),
        (_LOAD_U8, result, bit.byte, 0),
        (_SET, result, 0, 1),
        (_EXIT, 0, 0, 0),
    )
    try:
        instructions = b"".join(_INSTRUCTION.pack(*each) for each in code)
        libbpf.load_program(
            BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "kernel_socket", instructions, attach_type=_INET4_CONNECT
        ).close()
    except (struct.error, EbpflbError):
        return False
    return True
