"""Which sockets of ``sock_origins`` are stale: their backend serves them no more, and they would never notice.

Decides by protocol: UDP leaves as its flows do (``serving.py``); TCP may drain, so the user says when it must end. Must
not know how a socket is found or closed, nor when anybody looks.

    sock_origins, then backends, members, frontends [, slots] --find_stale--> StaleSockets

``sock_origins`` is read first: a backend is written before a frontend leads to it and removed after none does, so
whoever was chosen before is there still, or has left.
"""

from enum import StrEnum
from typing import NamedTuple

import numpy as np

from ebpflb.core.abi import SLOTS_PER_LINE, Protocol
from ebpflb.datapath.arrays import Rows
from ebpflb.datapath.columns import addresses_of
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.serving import Dialled, Members, read_serving


class TcpSockets(StrEnum):
    """Which TCP sockets are closed."""

    NEVER = "never"
    """None: they find out by themselves, which takes minutes, or wait for ever."""
    DELETED = "deleted"
    """Those whose backend is gone from every Service: nobody answers there any more."""
    DRAINING = "draining"
    """Also those whose backend takes no new connections of their Service, though it may finish what it has."""


class StaleSocket(NamedTuple):
    """A socket whose backend serves it no more."""

    cookie: int
    address: bytes
    """Of the backend: what the kernel believes to be the peer."""
    port: int
    protocol: Protocol


class StaleSockets(NamedTuple):
    """Stale sockets, and their keys in ``sock_origins``, in the same order."""

    sockets: list[StaleSocket]
    keys: Rows


class SocketMaps(NamedTuple):
    """The maps of one family that tell which sockets are stale."""

    sock_origins: BpfMap
    backends: BpfMap
    members: BpfMap
    frontends: BpfMap
    slots: BpfMap


def find_stale(maps: SocketMaps, tcp: TcpSockets) -> StaleSockets:
    """Return the sockets whose backend serves them no more."""
    keys, values = maps.sock_origins.read()
    if not len(keys):
        return _described(keys)
    serving = read_serving(maps.backends, maps.members, maps.frontends)
    are_stale = serving.are_orphaned(Dialled(values["address"], values["port"], keys["protocol"]), values)
    if tcp is not TcpSockets.NEVER:
        are_tcp = keys["protocol"] == Protocol.TCP
        of_tcp = values[are_tcp]
        left = serving.backends.are_gone(of_tcp["backend_id"], of_tcp["generation"])
        if tcp is TcpSockets.DRAINING:
            taking = read_taking(maps.frontends, maps.slots, of_tcp["service_id"])
            left |= ~taking.have(of_tcp["service_id"], of_tcp["backend_id"])
        are_stale[are_tcp] = left
    return _described(keys[are_stale])


def _described(keys: Rows) -> StaleSockets:
    columns = (
        keys["cookie"].tolist(),
        addresses_of(keys["address"]),
        keys["port"].tolist(),
        map(Protocol, keys["protocol"].tolist()),
    )
    return StaleSockets([StaleSocket(*row) for row in zip(*columns, strict=True)], keys)


def read_taking(frontends: BpfMap, slots: BpfMap, service_id: Rows) -> Members:
    """Read which backends take new flows of these service ports: those that some range names.

    The map ``members`` does not tell: TCP has rows there only where affinity asks for them.
    """
    _keys, rows = frontends.read()
    rows = rows[np.isin(rows["service_id"], service_id)]
    pairs: list[tuple[Rows, Rows]] = [(np.empty(0, np.uint32), np.empty(0, np.uint32))]
    for name in ("cluster", "local"):
        spans = np.unique(np.column_stack([rows["service_id"], rows[name]["offset"], rows[name]["length"]]), axis=0)
        for owner, offset, length in spans.tolist():
            ids = _read_slots(slots, offset, length)
            pairs.append((np.full(len(ids), owner, np.uint32), ids))
    services, backend_ids = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return Members.of(services, backend_ids)


def _read_slots(slots: BpfMap, offset: int, length: int) -> Rows:
    """Return the different backend ids in a range."""
    first, last = offset // SLOTS_PER_LINE, -(-(offset + length) // SLOTS_PER_LINE)
    lines = slots.lookup_rows(np.arange(first, last, dtype=np.uint32))[1]["backend_id"].reshape(-1)
    start = offset - first * SLOTS_PER_LINE
    different: Rows = np.unique(lines[start : start + length])
    return different
