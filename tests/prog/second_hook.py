"""A packet at its second hook: ``lb_out`` has translated it and noted that in its tc_index, which no test run can set.

Nor does one show it: that ``lb_out`` makes the note is seen where real packets pass both hooks, in tests/netns/traffic.

program --noting_program--> a program that makes the note, then goes on as the other one
"""

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ebpflb.datapath import libbpf
from ebpflb.datapath.programs import BPF_PROG_TYPE_SCHED_CLS

_PROG_ARRAY = 3  # BPF_MAP_TYPE_PROG_ARRAY
_SKB_TC_INDEX = 44  # offset in struct __sk_buff of <linux/bpf.h>
_TAIL_CALL = 12  # bpf_tail_call()
_NOT_CALLED = 99


@contextmanager
def noting_program(program: libbpf.Handle, note: int) -> Iterator[libbpf.Handle]:
    """Load a program that makes a note (``BuildSpec.tc_index``) and calls ``program`` with the packet."""
    arguments = (_PROG_ARRAY, b"second_hook", 4, 4, 1, None)
    with (
        libbpf.own("create", "a prog array", libbpf.call("bpf_map_create", *arguments)) as calls,
        libbpf.load_program(BPF_PROG_TYPE_SCHED_CLS, "second_hook", _instructions(calls.fileno(), note)) as noting,
    ):
        first, called = ctypes.c_uint32(0), ctypes.c_uint32(program.fileno())
        updated = libbpf.call("bpf_map_update_elem", calls.fileno(), ctypes.byref(first), ctypes.byref(called), 0)
        assert updated == 0, updated
        yield noting


def _instructions(calls: int, note: int) -> bytes:
    code = (
        (0xB7, 0x02, 0, note),  # r2 = the note
        (0x63, 0x21, _SKB_TC_INDEX, 0),  # skb->tc_index = r2
        (0x18, 0x12, 0, calls),  # r2 = the array
        (0x00, 0x00, 0, 0),
        (0xB7, 0x03, 0, 0),  # r3 = 0
        (0x85, 0x00, 0, _TAIL_CALL),
        (0xB7, 0x00, 0, _NOT_CALLED),
        (0x95, 0x00, 0, 0),
    )
    return b"".join(struct.pack("=BBhi", *instruction) for instruction in code)
