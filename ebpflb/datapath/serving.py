"""Which backends serve which service port now, and with that, which UDP flows and sockets a new one would not become.

Decides nothing about when anybody looks, nor what becomes of who is orphaned. Pure and by columns, but for ``read``.

    backends, members, frontends --read_serving--> Serving --are_orphaned(dialled, values)--> for each: orphaned or not

A flow is judged by the service port that has its frontend *now*: a Service that is deleted and made again, or that
takes an address over, is another one by its id, and its clients dial it all the same (kube-proxy, too, goes by the
address). A frontend that nobody has leaves its flows what they have.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import BackendState, Protocol
from ebpflb.datapath.arrays import Rows, as_text, places
from ebpflb.datapath.maps import BpfMap

Mask = npt.NDArray[np.bool_]
_Ids = npt.NDArray[np.uint32]


class Backends(NamedTuple):
    """Columns of the map ``backends``; the position is the id."""

    state: npt.NDArray[np.uint8]
    generation: _Ids

    def are_gone(self, backend_id: _Ids, generation: _Ids) -> Mask:
        """Return, for each reference to a backend, whether it names none or another one by now."""
        beyond = backend_id >= len(self.state)
        known = np.where(beyond, 0, backend_id)
        gone: Mask = beyond | (self.generation[known] != generation) | (self.state[known] == BackendState.NONE)
        return gone


class Members(NamedTuple):
    """Which backends belong to which service ports, each pair as one number; sorted."""

    pairs: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, service_id: _Ids, backend_id: _Ids) -> Self:
        """Take two columns: of the keys of ``members``, say."""
        return cls(np.sort(_pairs(service_id, backend_id)))

    def have(self, service_id: _Ids, backend_id: _Ids) -> Mask:
        """Return which backends belong to their service port."""
        return places(self.pairs, _pairs(service_id, backend_id))[1]

    def have_lost(self, service_id: _Ids, backend_id: _Ids) -> Mask:
        """Return, for each backend that a service had, whether it has left that service, and others are there.

        A service port without any member keeps what it has, as with kube-proxy: there is nowhere better to go.
        """
        lost: Mask = ~self.have(service_id, backend_id) & np.isin(service_id, _services(self.pairs))
        return lost


class Dialled(NamedTuple):
    """Columns: which frontend each flow or socket dialled."""

    address: Rows
    port: Rows
    protocol: Rows

    def those(self, which: Mask) -> Self:
        """Return some of them."""
        return type(self)(self.address[which], self.port[which], self.protocol[which])


class Frontends(NamedTuple):
    """Which service port has which frontend; sorted."""

    layout: np.dtype[Any]
    """Of a key."""
    texts: npt.NDArray[np.bytes_]
    service_id: _Ids

    @classmethod
    def of(cls, keys: Rows, values: Rows) -> Self:
        """Take the rows of the map ``frontends``."""
        texts = as_text(keys)
        order = np.argsort(texts)
        return cls(keys.dtype, texts[order], values["service_id"][order])

    def owners(self, dialled: Dialled, otherwise: _Ids) -> _Ids:
        """Return the service port that has each frontend; nobody: ``otherwise``."""
        keys = np.zeros(len(otherwise), self.layout)
        keys["port"], keys["protocol"] = dialled.port, dialled.protocol
        owner = self._named(keys, otherwise)  # a NodePort has no address; whoever has this very one comes first
        keys["address"] = dialled.address
        return self._named(keys, owner)

    def _named(self, keys: Rows, otherwise: _Ids) -> _Ids:
        place, found = places(self.texts, as_text(keys))
        owner = otherwise.copy()
        owner[found] = self.service_id[place[found]]
        return owner


class Serving(NamedTuple):
    """Which backends there are, and which of them serve which service port."""

    backends: Backends
    members: Members
    frontends: Frontends

    def are_orphaned(self, dialled: Dialled, values: Rows) -> Mask:
        """Return which flows or sockets are of UDP, and their backend is gone or has left their service port."""
        orphaned: Mask = dialled.protocol == Protocol.UDP
        of_udp = values[orphaned]
        owner = self.frontends.owners(dialled.those(orphaned), of_udp["service_id"])
        gone = self.backends.are_gone(of_udp["backend_id"], of_udp["generation"])
        orphaned[orphaned] = gone | self.members.have_lost(owner, of_udp["backend_id"])
        return orphaned


def read_serving(backends: BpfMap, members: BpfMap, frontends: BpfMap) -> Serving:
    """Read what tells whether a backend is still the same, and still serves a service port."""
    _ids, values = backends.read()
    keys, _sets = members.read()
    return Serving(
        Backends(values["state"], values["generation"]),
        Members.of(keys["service_id"], keys["backend_id"]),
        Frontends.of(*frontends.read()),
    )


def _pairs(service_id: _Ids, backend_id: _Ids) -> npt.NDArray[np.uint64]:
    return service_id.astype(np.uint64) << np.uint64(32) | backend_id


def _services(pairs: npt.NDArray[np.uint64]) -> _Ids:
    return np.unique((pairs >> np.uint64(32)).astype(np.uint32))
