"""Decodes the maps that the programs write: flows, affinity, sockets, datagrams in fragments, counters; and marks.

Pure: arrays of map entries in, plain rows out. Must not know how maps are read, nor what time it is: ages are counted
from the jiffies that the caller read.

    FlowContext, keys, values -> list[Row]
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from ebpflb.cli.words import Names, Row, is_wanted, protocol_name, transport, words
from ebpflb.core.abi import Counter, FlowFlag, FlowSeen
from ebpflb.core.model import format_address, format_endpoint
from ebpflb.core.tables import Tables
from ebpflb.datapath.columns import addresses_of
from ebpflb.datapath.expiry import FlowState, flow_states, partners
from ebpflb.datapath.maps import Rows

_U32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class FlowContext:
    """What ids and stamps mean at the moment of the dump."""

    tables: Tables
    now_jiffies: int
    """Low 32 bits."""
    hz: int
    wanted: Collection[int] | None = None
    """Service ids; ``None``: all."""

    @property
    def names(self) -> Names:
        """What ids stand for."""
        return Names(self.tables)

    def age_s(self, stamp: int) -> float:
        """Return the seconds since a stamp. One that is newer than our reading of the clock is 0 old."""
        ticks = (self.now_jiffies - stamp) & _U32
        return 0.0 if ticks > _U32 // 2 else round(ticks / self.hz, 1)


def decode_flows(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return each entry: the tuple on the wire, what it becomes, and the state of the flow that it is half of."""
    partner = partners(keys, values)
    source, to_destination = _endpoints(keys, "saddr", "sport"), _endpoints(values, "to_daddr", "to_dport")
    are_replies = ((values["flags"] & FlowFlag.REPLY) != 0).tolist()
    protocols = [protocol_name(number) for number in keys["protocol"].tolist()]
    service_ids, backend_ids = values["service_id"].tolist(), values["backend_id"].tolist()
    generations = values["generation"].tolist()
    names = context.names
    # A reply comes from the backend, a request becomes one to it.
    backends = [
        mine if is_reply else its for is_reply, mine, its in zip(are_replies, source, to_destination, strict=True)
    ]
    columns = {
        "direction": ["reply" if is_reply else "request" for is_reply in are_replies],
        "protocol": protocols,
        "source": source,
        "destination": _endpoints(keys, "daddr", "dport"),
        "to_source": _endpoints(values, "to_saddr", "to_sport"),
        "to_destination": to_destination,
        "state": [FlowState(number).words for number in flow_states(keys, values, partner).tolist()],
        "age_s": [context.age_s(stamp) for stamp in values["last_seen"].tolist()],
        "flags": _words(FlowFlag, values["flags"] & ~np.uint8(FlowFlag.REPLY)),
        "seen": _words(FlowSeen, values["seen"]),
        "paired": (partner >= 0).tolist(),
        "service": [names.service(number) for number in service_ids],
        "service_id": service_ids,
        "backend": [f"{text}/{protocol}" for text, protocol in zip(backends, protocols, strict=True)],
        "backend_id": backend_ids,
        "generation": generations,
        "backend_alive": [
            names.backend(*reference) is not None for reference in zip(backend_ids, generations, strict=True)
        ],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [row for row in rows if is_wanted(row["service_id"], context.wanted)]


def _endpoints(rows: Rows, address: str, port: str) -> list[str]:
    return list(map(format_endpoint, addresses_of(rows[address]), rows[port].tolist()))


def _words(kind: type[IntFlag], column: Rows) -> list[list[str]]:
    """Return the flags of each row in words. A table has many rows and few combinations."""
    texts = {number: words(kind(number)) for number in np.unique(column).tolist()}
    return [list(texts[number]) for number in column.tolist()]


def decode_affinity(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return which client is remembered for which backend, and for how long."""
    timeouts = {
        frontend.service_id: frontend.affinity_timeout_s
        for frontend in context.tables.frontends.values()
        if frontend.affinity_timeout_s
    }
    columns = zip(
        addresses_of(keys["client"]),
        keys["netns_cookie"].tolist(),
        keys["service_id"].tolist(),
        values["backend_id"].tolist(),
        values["generation"].tolist(),
        values["last_used"].tolist(),
        strict=True,
    )
    return [
        {
            "service": context.names.service(service_id),
            "service_id": service_id,
            "client_address": None if cookie else format_address(client),
            "client_netns_cookie": cookie or None,
            "backend": context.names.backend(backend_id, generation),
            "backend_id": backend_id,
            "generation": generation,
            "seconds_left": round(max(0.0, timeouts.get(service_id, 0) - context.age_s(last_used)), 1),
        }
        for client, cookie, service_id, backend_id, generation, last_used in columns
        if is_wanted(service_id, context.wanted)
    ]


def decode_sock_origins(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return which address a socket dialled before it was given its backend's."""
    columns = zip(
        keys["cookie"].tolist(),
        addresses_of(keys["address"]),
        keys["port"].tolist(),
        keys["protocol"].tolist(),
        addresses_of(values["address"]),
        values["port"].tolist(),
        values["backend_id"].tolist(),
        values["generation"].tolist(),
        values["service_id"].tolist(),
        strict=True,
    )
    return [
        {
            "socket_cookie": cookie,
            "frontend": transport(dialled, dialled_port, protocol),
            "service": context.names.service(service_id),
            "service_id": service_id,
            "backend": transport(address, port, protocol),
            "backend_id": backend_id,
            "generation": generation,
            "backend_alive": context.names.backend(backend_id, generation) is not None,
        }
        for cookie, address, port, protocol, dialled, dialled_port, backend_id, generation, service_id in columns
        if is_wanted(service_id, context.wanted)
    ]


def decode_sock_choices(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return which backend a UDP socket keeps for an address that it dialled."""
    columns = zip(
        keys["cookie"].tolist(),
        addresses_of(keys["address"]),
        keys["port"].tolist(),
        keys["protocol"].tolist(),
        values["service_id"].tolist(),
        values["backend_id"].tolist(),
        values["generation"].tolist(),
        strict=True,
    )
    return [
        {
            "socket_cookie": cookie,
            "frontend": transport(address, port, protocol),
            "service": context.names.service(service_id),
            "service_id": service_id,
            "backend": context.names.backend(backend_id, generation),
            "backend_id": backend_id,
            "generation": generation,
        }
        for cookie, address, port, protocol, service_id, backend_id, generation in columns
        if is_wanted(service_id, context.wanted)
    ]


def decode_datagrams(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return the datagrams in fragments that are under way, and how many fragments wait for the first one."""
    columns = zip(
        _datagrams(keys),
        values["is_known"].tolist(),
        values["sport"].tolist(),
        values["dport"].tolist(),
        (values["held"] - values["released"]).tolist(),
        values["last_seen"].tolist(),
        strict=True,
    )
    return [
        {
            **datagram,
            "source_port": sport if is_known else None,
            "destination_port": dport if is_known else None,
            "waiting": waiting,
            "age_s": context.age_s(last_seen),
        }
        for datagram, is_known, sport, dport, waiting, last_seen in columns
    ]


def decode_held_fragments(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return the fragments that wait for the first one of their datagram, without their contents."""
    del context
    columns = zip(_datagrams(keys["datagram"]), keys["number"].tolist(), values["length"].tolist(), strict=True)
    return [{**datagram, "number": number, "length": length} for datagram, number, length in columns]


def _datagrams(keys: Rows) -> list[Row]:
    ends = (map(format_address, addresses_of(keys[name])) for name in ("saddr", "daddr"))
    columns = zip(*ends, map(protocol_name, keys["protocol"].tolist()), keys["id"].tolist(), strict=True)
    return [
        {"source": source, "destination": destination, "protocol": protocol, "id": number}
        for source, destination, protocol, number in columns
    ]


def decode_counters(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return the sum over all CPUs of each counter; those of a newer program have a number for a name."""
    del context
    names = {member.value: member.name.lower() for member in Counter}
    return [
        {"counter": names.get(number, f"counter_{number}"), "value": total}
        for number, total in zip(keys.tolist(), values.sum(axis=1).tolist(), strict=True)
    ]


def decode_marks(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return the bits that are set, by number: each stands for the addresses that hash to it."""
    del context
    words = ((number, bits) for number, bits in zip(keys.tolist(), values.tolist(), strict=True) if bits)
    return [{"bit": 64 * number + place} for number, bits in words for place in range(64) if bits >> place & 1]


def decode_changes(context: FlowContext, keys: Rows, values: Rows) -> list[Row]:
    """Return how often what flows rest on has changed."""
    del context, keys
    names = ("taken_back", "written", "swept")
    return [dict(zip(names, numbers, strict=True)) for numbers in values[list(names)].tolist()]


Decoder = Callable[[FlowContext, Rows, Rows], list[Row]]

FLOW_MAPS: Mapping[str, Decoder] = {
    "affinity": decode_affinity,
    "flows": decode_flows,
    "pending": decode_flows,
    "datagrams": decode_datagrams,
    "held_fragments": decode_held_fragments,
    "sock_origins": decode_sock_origins,
    "sock_choices": decode_sock_choices,
    "counters": decode_counters,
    "marks": decode_marks,
    "changes": decode_changes,
}
"""By the map's name."""
