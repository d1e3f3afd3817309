"""The map layouts of this schema version, and the check that a map in the kernel has them.

Decides whether this code may read and write a map: offsets come from the kernel's BTF, and must be the ones that
``SCHEMA_VERSION`` stands for. A struct of ``bpf/lb/abi.h`` that changes without a new version is caught here, before
a restarted agent adopts pins whose bytes mean something else.

    BTF dtypes of a map --check_layout(name, family)--> nothing, or LayoutError with both layouts
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ebpflb.core.abi import HELD_BYTES, SERVICE_NAME_BYTES, SLOTS_PER_LINE, Family
from ebpflb.datapath.btf import DType
from ebpflb.errors import LayoutError

SCHEMA_VERSION = 4
"""Part of every pin's path. Moves on with every change to a key or value of ``bpf/lb/abi.h``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The key and the value of a map."""

    key: DType
    value: DType


_SCALARS = {"u8": "u1", "u16": "=u2", "u32": "=u4", "u64": "=u8", "be16": ">u2", "be32": ">u4"}

_SOCK_KEY: dict[Family, str] = {
    Family.IPV4: "cookie:u64 address:addr port:be16 protocol:u8 pad:u8",
    Family.IPV6: "cookie:u64 address:addr port:be16 protocol:u8 pad:u8 pad2:u32",
}

_FLOWS = (
    "saddr:addr daddr:addr sport:be16 dport:be16 protocol:u8 pad:u8*3",
    (
        "to_saddr:addr to_daddr:addr to_sport:be16 to_dport:be16 backend_id:u32 generation:u32 service_id:u32"
        " last_seen:u32 flags:u8 seen:u8 partner_flags:u8 pad:u8"
    ),
)
_DATAGRAM = "saddr:addr daddr:addr id:be32 protocol:u8 pad:u8*3"

# Fields in order, explicit padding included: nothing is implicit, so offsets follow. One word: not a struct.
_SCHEMA: dict[str, tuple[str | dict[Family, str], str]] = {
    "frontends": (
        "address:addr port:be16 protocol:u8 pad:u8",
        "service_id:u32 kind:u8 algorithm:u8 flags:u8 pad:u8 affinity_timeout:u32 cluster:range local:range",
    ),
    "backends": (
        "u32",
        "address:addr port:be16 protocol:u8 state:u8 flags:u8 pad:u8*3 generation:u32",
    ),
    "slots": ("u32", f"backend_id:u32*{SLOTS_PER_LINE}"),
    "services": ("u32", f"name:char*{SERVICE_NAME_BYTES}"),
    "members": ("service_id:u32 backend_id:u32", "sets:u32"),
    "affinity": (
        {
            Family.IPV4: "netns_cookie:u64 client:addr service_id:u32",
            Family.IPV6: "netns_cookie:u64 client:addr service_id:u32 pad:u32",
        },
        "backend_id:u32 generation:u32 last_used:u32",
    ),
    "flows": _FLOWS,
    "pending": _FLOWS,
    "sock_origins": (
        _SOCK_KEY,
        "address:addr port:be16 pad:u16 backend_id:u32 generation:u32 service_id:u32",
    ),
    "sock_choices": (
        _SOCK_KEY,
        "backend_id:u32 generation:u32 service_id:u32",
    ),
    "sock_pairs": (
        "u32",
        (
            "lock:lock protocol:u8 is_crowded:u8 pad:u8*2 cookie:u64 address:addr dialled:addr port:be16"
            " dialled_port:be16 backend_id:u32 generation:u32 service_id:u32"
        ),
    ),
    "node_addrs": ("addr", "flags:u32"),
    "devices": ("u32", "snat_address:addr mtu:u32 flags:u32"),
    "local_backends": ("service_id:u32 address:addr", "u32"),
    "source_ranges": ("prefix_length:u32 service_id:u32 address:addr", "u32"),
    "opt_outs": ("u64", "u32"),
    "service_cidrs": ("prefix_length:u32 address:addr", "u32"),
    "config": ("u32", "pod_network:addr pod_mask:addr guard_network:addr guard_mask:addr flags:u32"),
    "datagrams": (_DATAGRAM, "sport:be16 dport:be16 is_known:u32 held:u32 released:u32 last_seen:u32"),
    "held_fragments": ("datagram:datagram number:u32", f"length:u32 held_at:u32 frame:u8*{HELD_BYTES}"),
    "counters": ("u32", "u64"),
    "marks": ("u32", "u64"),
    "changes": ("u32", "taken_back:u32 written:u32 swept:u32"),
}

SOCK_PAIRS = "sock_pairs"
"""Rows of ``sock_origins`` and ``sock_choices`` in another form: shown as theirs (``sock_pairs.py``)."""

MAP_NAMES = tuple(name for name in _SCHEMA if name != SOCK_PAIRS)
"""Every map of a family that has rows of its own to show."""


def address_dtype(family: Family) -> DType:
    """Return the dtype of ``addr_t``: the bytes of the wire, as big-endian words."""
    return np.dtype([("word", ">u4", (family.address_bytes // 4,))])


@cache
def layout_of(name: str, family: Family) -> Layout:
    """Return the layout that this schema version gives a map."""
    key, value = _SCHEMA[name]
    text = key if isinstance(key, str) else key[family]
    return Layout(_dtype(text, family), _dtype(value, family))


def _dtype(text: str, family: Family) -> DType:
    if ":" not in text:
        return _element(text, family)
    fields: list[tuple[str, DType]] = []
    for field in text.split():
        name, _colon, kind = field.partition(":")
        fields.append((name, _element(kind, family)))
    return _with_tail(np.dtype(fields), alignment=8 if "u64" in text else 4)


def _element(text: str, family: Family) -> DType:
    kind, _star, count = text.partition("*")
    if kind == "char":
        return np.dtype(f"S{count}")
    if kind == "addr":
        base = address_dtype(family)
    elif kind == "datagram":
        base = _dtype(_DATAGRAM, family)
    elif kind == "lock":
        base = np.dtype([("val", "=u4")])
    elif kind == "range":
        base = np.dtype([("offset", "=u4"), ("length", "=u4")])
    else:
        base = np.dtype(_SCALARS[kind])
    return np.dtype((base, (int(count),))) if count else base


def _with_tail(packed: DType, alignment: int) -> DType:
    """Return a struct's dtype with the padding that C puts at its end; inside, the ABI pads explicitly."""
    names = packed.names or ()
    return np.dtype(
        {
            "names": names,
            "formats": [_fields(packed)[name][0] for name in names],
            "offsets": [_fields(packed)[name][1] for name in names],
            "itemsize": -(-packed.itemsize // alignment) * alignment,
        }
    )


def _fields(dtype: DType) -> dict[str, Any]:
    return dict(dtype.fields or {})


def check_layout(name: str, family: Family, found: Layout) -> None:
    """Raise ``LayoutError`` unless the layout found in the kernel is the one of this schema version."""
    wanted = layout_of(name, family)
    if (found.key, found.value) == (wanted.key, wanted.value):
        return
    raise LayoutError(
        f"map {name} ({family.name}) is laid out as key {describe(found.key)}, value {describe(found.value)};"
        f" schema version {SCHEMA_VERSION} needs key {describe(wanted.key)}, value {describe(wanted.value)}",
        remedy="remove the old state with `ebpflb cleanup` and start again, or run the version that wrote it",
    )


def describe(dtype: DType) -> str:
    """Return a dtype for people: ``{port:>u2@4 protocol:|u1@6} 8 bytes``."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return f"{describe(base)}{list(shape)}"
    if dtype.names is None:
        return dtype.str
    parts = (f"{name}:{describe(_fields(dtype)[name][0])}@{_fields(dtype)[name][1]}" for name in dtype.names)
    return f"{{{' '.join(parts)}}} {dtype.itemsize} bytes"
