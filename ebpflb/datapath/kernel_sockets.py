"""How a socket program tells the kernel's own sockets (NFS, SMB) from those of processes, if this kernel lets it.

``struct sock`` has a bit for it, which no field of a program's context shows. A program may follow a pointer to the
struct where the kernel's BTF says that the bit lies. Loads the smallest program that does, so that the real ones load.

    /sys/kernel/btf/vmlinux --find_bit--> Bit --a program that reads it loads?--> Bit, or None
"""

import struct
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


def kernel_socket_bit(btf: Path = _KERNEL_BTF) -> Bit | None:
    """Return where ``struct sock`` says that the kernel owns a socket; ``None`` where programs cannot ask."""
    try:
        bit = find_bit(btf.read_bytes(), "sock", "sk_kern_sock")
        return bit if bit is not None and _is_readable(bit) else None
    except (OSError, struct.error, ValueError, EbpflbError):  # no BTF, or none that can be read
        return None


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
        libbpf.load_program(
            BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
            "kernel_socket",
            b"".join(_INSTRUCTION.pack(*each) for each in code),
            attach_type=_INET4_CONNECT,
        ).close()
    except EbpflbError:
        return False
    return True
