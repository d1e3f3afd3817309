"""Which flag makes ``bpf_l4_csum_replace`` right for IPv6 packets that come with a whole checksum from the hardware.

Linux 6.16 (and stable kernels since) takes ``BPF_F_IPV6``: without it, CHECKSUM_COMPLETE of a translated packet is off,
and the receiver adds the packet up by itself. Older kernels refuse a flag that they do not know, so one is asked.

    a program that uses the flag --test run--> the flag, or 0
"""

import struct

from ebpflb.datapath import libbpf
from ebpflb.datapath.programs import BPF_PROG_TYPE_SCHED_CLS
from ebpflb.errors import EbpflbError

BPF_F_IPV6 = 1 << 7
_L4_CSUM_REPLACE = 11  # enum bpf_func_id
_OFFSET = 40  # of some 16-bit field in the frame; nothing is added to it
_FRAME = bytes(64)
_SET, _CALL, _EXIT = 0xB7, 0x85, 0x95


def csum_ipv6_flag() -> int:
    """Return ``BPF_F_IPV6``, or 0 where the kernel does not know it or may not be asked."""
    try:
        with libbpf.load_program(BPF_PROG_TYPE_SCHED_CLS, "lb_csum_probe", _replace_with(BPF_F_IPV6)) as program:
            refused = libbpf.prog_test_run(program, _FRAME).retval
    except EbpflbError:
        return 0
    return 0 if refused else BPF_F_IPV6


def _replace_with(flags: int) -> bytes:
    """Return a program that changes a checksum by nothing, and returns what the helper says."""
    arguments = ((2, _OFFSET), (3, 0), (4, 0), (5, flags))
    code = [(_SET, register, 0, value) for register, value in arguments]
    code += [(_CALL, 0, 0, _L4_CSUM_REPLACE), (_EXIT, 0, 0, 0)]
    return b"".join(struct.pack("=BBhi", *instruction) for instruction in code)
