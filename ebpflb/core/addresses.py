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
    answers: dict[bytes, bool] = {}
    for key, row in frontends.items():
        if row.kind is not FrontendKind.NODE_PORT and not answers.get(key.address, False):
            is_ours = key.address in own_addresses
            answers[key.address] = FrontendFlag.HAS_BACKENDS in row.flags and not is_ours
    silent, answering = (
        Frontend(NO_SERVICE, FrontendKind.ADDRESS, Algorithm.RANDOM, flags, 0, EMPTY_RANGE, EMPTY_RANGE)
        for flags in (FrontendFlag(0), FrontendFlag.HAS_BACKENDS)
    )
    return {
        FrontendKey(address, 0, Protocol.ANY): answering if answers[address] else silent for address in sorted(answers)
    }
