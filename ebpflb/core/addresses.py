"""Decides the rows of Services' addresses as such: what answers a ping, and where fragments without ports belong.

Knows frontends; knows nothing of Services. ADR 0010 says why there are such rows.

    frontends, this node's addresses --address_rows--> rows of ``frontends`` with port 0 and protocol 0
"""

from collections.abc import Collection, Iterable, Mapping

from ebpflb.core.abi import Algorithm, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.tables import EMPTY_RANGE, NO_SERVICE, Frontend, FrontendKey


def addresses_of(frontends: Iterable[tuple[FrontendKey, FrontendKind]]) -> frozenset[bytes]:
    """Return the addresses that frontends have of their own; NodePorts are at the node's."""
    return frozenset(key.address for key, kind in frontends if kind is not FrontendKind.NODE_PORT)


def address_rows(
    frontends: Mapping[FrontendKey, Frontend], own_addresses: Collection[bytes]
) -> dict[FrontendKey, Frontend]:
    """Return one row for each address, whosever frontends are there.

    It has backends if any frontend at it has: then a ping is answered. An address that is also this node's has none:
    the node answers for itself, under its own rules.
    """
    answers = dict.fromkeys(addresses_of((key, row.kind) for key, row in frontends.items()), FrontendFlag(0))
    for key, row in frontends.items():
        if key.address in answers and key.address not in own_addresses:
            answers[key.address] |= row.flags & FrontendFlag.HAS_BACKENDS
    return {
        FrontendKey(address, 0, Protocol.ANY): Frontend(
            NO_SERVICE, FrontendKind.ADDRESS, Algorithm.RANDOM, flags, 0, EMPTY_RANGE, EMPTY_RANGE
        )
        for address, flags in sorted(answers.items())
    }
