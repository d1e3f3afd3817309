"""Decodes the maps that the control plane writes: frontends, backends, slots, services, members and the node's own.

Pure: typed rows in, plain rows out, sorted. Must not know how a row is printed.

    Tables, wanted service ids (None: all) -> list[Row]
"""

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator, Mapping
from socket import if_indextoname

import numpy as np

from ebpflb.cli.words import KINDS, Names, Row, backend_text, is_wanted, transport, word, words
from ebpflb.core.abi import BackendFlag, FrontendFlag
from ebpflb.core.model import format_address
from ebpflb.core.tables import EMPTY_RANGE, Frontend, FrontendKey, Range, Tables

Wanted = Collection[int] | None
"""Service ids; ``None``: all."""


def decode_frontends(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return what clients dial, and where each range leads."""
    names = Names(tables)
    return [
        {
            "frontend": transport(*key),
            "address": format_address(key.address),
            "port": key.port,
            "protocol": key.protocol.name,
            "service": names.service(frontend.service_id),
            "service_id": frontend.service_id,
            "kind": KINDS[frontend.kind],
            "algorithm": word(frontend.algorithm),
            "policy": "Local" if FrontendFlag.LOCAL_POLICY in frontend.flags else "Cluster",
            "has_backends": FrontendFlag.HAS_BACKENDS in frontend.flags,
            "affinity_timeout_s": frontend.affinity_timeout_s,
            "cluster": _range(frontend.cluster, tables),
            "local": _range(frontend.local, tables),
        }
        for key, frontend in _frontends(tables, wanted)
    ]


def decode_backends(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return the live backends; of wanted services those that their ranges and memberships name."""
    named = None if wanted is None else _backends_of(tables, wanted)
    return [
        {
            "backend_id": number,
            "backend": backend_text(backend),
            "address": format_address(backend.key.address),
            "port": backend.key.port,
            "protocol": backend.key.protocol.name,
            "state": word(backend.state),
            "local": BackendFlag.LOCAL in backend.flags,
            "generation": backend.generation,
        }
        for number, backend in sorted(tables.backends.items())
        if named is None or number in named
    ]


def decode_slots(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return each range that a frontend names: who uses it, and how many slots each backend has."""
    users: dict[Range, list[str]] = {}
    for key, frontend in _frontends(tables, wanted):
        for span in dict.fromkeys((frontend.cluster, frontend.local)):
            if span != EMPTY_RANGE:
                users.setdefault(span, []).append(transport(*key))
    return [
        {
            "offset": span.offset,
            "length": span.length,
            "frontends": frontends,
            "distribution": _distribution(span, tables),
        }
        for span, frontends in sorted(users.items())
    ]


def decode_services(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return the service ports that have an id."""
    frontends = Tally(frontend.service_id for frontend in tables.frontends.values())
    return [
        {"service_id": number, "service": name, "frontends": frontends[number]}
        for number, name in sorted(tables.services.items(), key=lambda item: (item[1], item[0]))
        if is_wanted(number, wanted)
    ]


def decode_members(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return which backends affinity may still lead to, and which ones UDP may stay with."""
    names = Names(tables)
    return [
        {
            "service": names.service(key.service_id),
            "service_id": key.service_id,
            "backend": names.backend(key.backend_id),
            "backend_id": key.backend_id,
            "sets": words(sets),
        }
        for key, sets in sorted(tables.members.items())
        if is_wanted(key.service_id, wanted)
    ]


def decode_node_addrs(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return the addresses at which NodePorts are served."""
    del wanted
    return [{"address": format_address(address)} for address in sorted(tables.node_addrs)]


def decode_devices(tables: Tables, wanted: Wanted = None, name_of: Callable[[int], str] = if_indextoname) -> list[Row]:
    """Return the source address of what is masqueraded out of each device of this network namespace."""
    del wanted
    return [
        {"ifindex": ifindex, "device": _device_name(ifindex, name_of), "snat_address": _address_or_none(address)}
        for ifindex, address in sorted(tables.devices.items())
    ]


SERVICE_MAPS: Mapping[str, Callable[[Tables, Wanted], list[Row]]] = {
    "frontends": decode_frontends,
    "backends": decode_backends,
    "slots": decode_slots,
    "services": decode_services,
    "members": decode_members,
    "node_addrs": decode_node_addrs,
    "devices": decode_devices,
}
"""By the map's name."""


def _frontends(tables: Tables, wanted: Wanted) -> Iterator[tuple[FrontendKey, Frontend]]:
    for key, frontend in sorted(tables.frontends.items()):
        if is_wanted(frontend.service_id, wanted):
            yield key, frontend


def _range(span: Range, tables: Tables) -> Row:
    return {
        "offset": span.offset,
        "length": span.length,
        "backends": [share["backend"] for share in _distribution(span, tables)],
    }


def _distribution(span: Range, tables: Tables) -> list[Row]:
    """Return the backends of a range by their first slot; an id without a live backend has the address ``None``."""
    contents = tables.slots.get(span)
    if contents is None:  # empty, or outside the map
        return []
    names = Names(tables)
    numbers, first, counts = np.unique(contents, return_index=True, return_counts=True)
    order = np.argsort(first)
    return [
        {"backend": names.backend(number), "backend_id": number, "slots": count}
        for number, count in zip(numbers[order].tolist(), counts[order].tolist(), strict=True)
    ]


def _backends_of(tables: Tables, wanted: Collection[int]) -> set[int]:
    named = {key.backend_id for key in tables.members if key.service_id in wanted}
    for _key, frontend in _frontends(tables, wanted):
        for span in (frontend.cluster, frontend.local):
            named.update(share["backend_id"] for share in _distribution(span, tables))
    return named


def _device_name(ifindex: int, name_of: Callable[[int], str]) -> str | None:
    try:
        return name_of(ifindex)
    except OSError:
        return None


def _address_or_none(address: bytes) -> str | None:
    return format_address(address) if any(address) else None
