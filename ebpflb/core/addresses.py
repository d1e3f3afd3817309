"""Decides the rows of Services' addresses as such: what answers a ping, and where fragments without ports belong.

Knows frontends; knows nothing of Services. ADR 0010 says why there are such rows.

    frontends, this node's addresses --address_rows--> rows of ``frontends`` with port 0 and protocol 0
"""

from collections.abc import Collection, Iterable, Mapping

from ebpflb.core.abi import Algorithm, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.tables import EMPTY_RANGE, NO_SERVICE, Frontend, FrontendKey

_NONE = FrontendFlag(0)


def addresses_of(frontends: Iterable[tuple[FrontendKey, FrontendKind]]) -> frozenset[bytes]:
    """Return the addresses that frontends have of their own; NodePorts are at the node's."""
    return frozenset(key.address for key, kind in frontends if kind is not FrontendKind.NODE_PORT)


def address_rows(
    frontends: Mapping[FrontendKey, Frontend], own_addresses: Collection[bytes]
) -> dict[FrontendKey, Frontend]:
    """Return one row for each address, whosever frontends are there.

    It has backends if any frontend at it has: then a ping is answered. It is a ClusterIP if any is: then nothing but
    its frontends may be dialled there. An address that is also this node's is neither: the node answers for itself,
    under its own rules.
    """
    flags: dict[bytes, FrontendFlag] = {}
    for key, row in frontends.items():
        if row.kind is not FrontendKind.NODE_PORT:
            found = row.flags & FrontendFlag.HAS_BACKENDS
            if row.kind is FrontendKind.CLUSTER_IP:
                found |= FrontendFlag.CLUSTER_ADDRESS
            known = flags.get(key.address, _NONE)
            flags[key.address] = _NONE if key.address in own_addresses else known | found
    rows = {
        each: Frontend(NO_SERVICE, FrontendKind.ADDRESS, Algorithm.RANDOM, each, 0, EMPTY_RANGE, EMPTY_RANGE)
        for each in set(flags.values())
    }
    return {FrontendKey(address, 0, Protocol.ANY): rows[flags[address]] for address in sorted(flags)}
