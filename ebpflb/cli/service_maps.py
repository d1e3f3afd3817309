"""Decodes the maps that the control plane writes of Services: frontends, backends and what names them.

Pure: typed rows in, plain rows out, sorted. Must not know how a row is printed.

    Tables, wanted service ids (None: all) -> list[Row]
"""

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from ebpflb.cli.words import KINDS, Names, Row, backend_text, is_wanted, transport, word, words
from ebpflb.core.abi import BackendFlag, FrontendFlag, FrontendKind
from ebpflb.core.model import format_address
from ebpflb.core.tables import EMPTY_RANGE, Frontend, FrontendKey, Range, Tables

Wanted = Collection[int] | None
"""Service ids; ``None``: all."""

_OPTIONS = FrontendFlag.DSR | FrontendFlag.SOURCE_RANGES
"""The flags that have no field of their own."""


def decode_frontends(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return what clients dial, and where each range leads."""
    return [_frontend(key, frontend, tables) for key, frontend in _frontends(tables, wanted)]


def _frontend(key: FrontendKey, frontend: Frontend, tables: Tables) -> Row:
    """Return one row. One of an address as such belongs to no single service port, and forwards nothing."""
    is_address = frontend.kind is FrontendKind.ADDRESS
    policy = "Local" if FrontendFlag.LOCAL_POLICY in frontend.flags else "Cluster"
    return {
        "frontend": format_address(key.address) if is_address else transport(*key),
        "address": format_address(key.address),
        "port": key.port,
        "protocol": key.protocol.name,
        "service": Names(tables).service(frontend.service_id),
        "service_id": None if is_address else frontend.service_id,
        "kind": KINDS[frontend.kind],
        "algorithm": None if is_address else word(frontend.algorithm),
        "policy": None if is_address else policy,
        "has_backends": FrontendFlag.HAS_BACKENDS in frontend.flags,
        "options": words(frontend.flags & _OPTIONS),
        "affinity_timeout_s": frontend.affinity_timeout_s,
        "cluster": _range(frontend.cluster, tables),
        "local": _range(frontend.local, tables),
    }


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


def decode_local_backends(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return which backend on this node takes packets that other nodes send whole (DSR)."""
    names = Names(tables)
    return [
        {
            "service": names.service(key.service_id),
            "service_id": key.service_id,
            "address": format_address(key.address),
            "backend": names.backend(backend_id),
            "backend_id": backend_id,
        }
        for key, backend_id in sorted(tables.local_backends.items())
        if is_wanted(key.service_id, wanted)
    ]


def decode_source_ranges(tables: Tables, wanted: Wanted = None) -> list[Row]:
    """Return which clients may use the load-balancer addresses of the service ports that are restricted."""
    names = Names(tables)
    return [
        {
            "service": names.service(key.service_id),
            "service_id": key.service_id,
            "range": f"{format_address(key.address)}/{key.prefix_length}",
        }
        for key in sorted(tables.source_ranges)
        if is_wanted(key.service_id, wanted)
    ]


SERVICE_MAPS: Mapping[str, Callable[[Tables, Wanted], list[Row]]] = {
    "frontends": decode_frontends,
    "backends": decode_backends,
    "slots": decode_slots,
    "services": decode_services,
    "members": decode_members,
    "local_backends": decode_local_backends,
    "source_ranges": decode_source_ranges,
}
"""By the map's name."""


def _frontends(tables: Tables, wanted: Wanted) -> Iterator[tuple[FrontendKey, Frontend]]:
    """Yield the frontends of service ports, and their addresses as such, in order."""
    mine = {key.address for key, frontend in tables.frontends.items() if is_wanted(frontend.service_id, wanted)}
    for key, frontend in sorted(tables.frontends.items()):
        is_mine = frontend.kind is FrontendKind.ADDRESS and key.address in mine
        if is_mine or is_wanted(frontend.service_id, wanted):
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
