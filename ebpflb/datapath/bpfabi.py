"""The C structs and prototypes of ``libbpf.so.1`` and ``<linux/bpf.h>`` that the datapath calls, for ctypes.

Layouts of the kernel's user interface only: no calls, no policy. Structs may end earlier than the kernel's (both
sides pass sizes); fields never move.

    linux/bpf.h, bpf/bpf.h -> Structure classes, PROTOTYPES -> libbpf.py, maps.py, cgroup.py
"""

import ctypes
from ctypes import c_char, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from enum import IntEnum

INSTRUCTION_BYTES = 8


class MapType(IntEnum):
    """The members of ``enum bpf_map_type`` that this project uses."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11


PER_CPU_TYPES = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
ARRAY_TYPES = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})


class MapInfo(ctypes.Structure):
    """``struct bpf_map_info``."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("btf_id", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("pad", c_uint32),
    )


class ProgInfo(ctypes.Structure):
    """The head of ``struct bpf_prog_info``, down to the name."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * 16),
    )


class BtfInfo(ctypes.Structure):
    """The head of ``struct bpf_btf_info``."""

    _fields_ = (("btf", c_uint64), ("btf_size", c_uint32), ("id", c_uint32))


class CgroupLinkInfo(ctypes.Structure):
    """``struct bpf_link_info`` with the cgroup member of its union."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("pad", c_uint32),
        ("cgroup_id", c_uint64),
        ("attach_type", c_uint32),
        ("pad_end", c_uint32),
    )


F_LOCK = 4
"""``BPF_F_LOCK``: of ``elem_flags``."""


class BatchOpts(ctypes.Structure):
    """``struct bpf_map_batch_opts``."""

    _fields_ = (("sz", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64))


class ProgLoadOpts(ctypes.Structure):
    """The head of ``struct bpf_prog_load_opts``."""

    _fields_ = (("sz", c_size_t), ("attempts", c_int), ("expected_attach_type", c_uint32))


class TestRunOpts(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_FD = c_int

PROTOTYPES: dict[str, tuple[type, ...]] = {
    "bpf_obj_get": (c_char_p,),
    "bpf_obj_pin": (_FD, c_char_p),
    "bpf_obj_get_info_by_fd": (_FD, c_void_p, c_void_p),
    "bpf_btf_get_fd_by_id": (c_uint32,),
    "bpf_map_lookup_elem": (_FD, c_void_p, c_void_p),
    "bpf_map_update_elem": (_FD, c_void_p, c_void_p, c_uint64),
    "bpf_map_delete_elem": (_FD, c_void_p),
    "bpf_map_get_next_key": (_FD, c_void_p, c_void_p),
    "bpf_map_lookup_batch": (_FD, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    "bpf_map_update_batch": (_FD, c_void_p, c_void_p, c_void_p, c_void_p),
    "bpf_map_delete_batch": (_FD, c_void_p, c_void_p, c_void_p),
    "bpf_prog_load": (c_int, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p),
    "bpf_prog_test_run_opts": (_FD, c_void_p),
    "bpf_link_create": (_FD, _FD, c_int, c_void_p),
    "bpf_link_update": (_FD, _FD, c_void_p),
    "libbpf_num_possible_cpus": (),
}
"""Argument types by function; every one of them returns an int."""
