"""Decides which clients may use a Service's load-balancer addresses (``spec.loadBalancerSourceRanges``).

Knows texts and prefixes; knows nothing of frontends' rows, nor of where clients are checked.

    Service, family, the node's first addresses --SourceRanges.of--> is_restricted, prefixes, malformed
    prefixes --source_range_rows--> rows of ``source_ranges``
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

from ebpflb.core import fields
from ebpflb.core.abi import Family
from ebpflb.core.model import Service, family_of, parse_address
from ebpflb.core.refusal import Refusal, service_text
from ebpflb.core.tables import Prefix, SourceRangeKey

_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_BITS = 96
_LENGTH = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class SourceRanges:
    """Who may use the load-balancer addresses of one family."""

    is_restricted: bool = False
    """Otherwise everybody: the list says nothing of this family."""
    prefixes: tuple[Prefix, ...] = ()
    malformed: tuple[tuple[int, str], ...] = ()
    """Position and text of what is no range. It lets nobody in, and keeps the addresses restricted."""

    @classmethod
    def of(cls, service: Service, family: Family, primary: Iterable[bytes]) -> Self:
        """Read the list of a Service.

        A text that is no range counts for the family that it looks like, and for both if it looks like neither.
        """
        prefixes: set[Prefix] = set()
        malformed: list[tuple[int, str]] = []
        for at, text in enumerate(service.source_ranges):
            prefix = parse_prefix(text)
            if prefix is None:
                if family in _families_of(text):
                    malformed.append((at, text))
            elif family_of(prefix.address) is family:
                prefixes.add(prefix)
        if not prefixes and not malformed:
            return cls()
        prefixes |= _own(service, family, primary, prefixes)
        return cls(is_restricted=True, prefixes=tuple(sorted(prefixes)), malformed=tuple(malformed))

    def refusals(self, service: Service) -> Iterator[Refusal]:
        """Yield what is wrong with the list."""
        for at, text in self.malformed:
            yield Refusal(
                service_text(service),
                f"spec.loadBalancerSourceRanges[{at}]",
                f"{fields.shown(text)} is no range; the load-balancer addresses are open to the others only",
                "give it as 192.0.2.0/24 or 2001:db8::/32",
            )


EVERYBODY = SourceRanges()


def parse_prefix(text: str) -> Prefix | None:
    """Return the prefix of ``192.0.2.0/24``; ``None`` if it is none.

    As Kubernetes' "sloppy" parser reads it: blanks around it and leading zeros do not matter, nor what stands behind
    the prefix. An IPv4-mapped prefix is the IPv4 one.
    """
    words, _, length_text = text.strip().partition("/")
    if not _LENGTH.fullmatch(length_text) or "%" in words:
        return None
    try:
        address = parse_address(words)
    except ValueError:
        return None
    length = int(length_text)
    if address.startswith(_MAPPED) and length >= _MAPPED_BITS:
        address, length = address.removeprefix(_MAPPED), length - _MAPPED_BITS
    return Prefix(_masked(address, length), length) if length <= 8 * len(address) else None


def source_range_rows(service_id: int, prefixes: Iterable[Prefix]) -> dict[SourceRangeKey, int]:
    """Return the rows of a service port."""
    return {SourceRangeKey(service_id, prefix.address, prefix.length): 0 for prefix in prefixes}


def _own(service: Service, family: Family, primary: Iterable[bytes], prefixes: Iterable[Prefix]) -> set[Prefix]:
    """Return the load-balancer addresses themselves, where this node may use them.

    A node that has them on a device of its own, as some load balancers want it, may send from them.
    """
    if not any(prefix.contains(address) for prefix, address in product(prefixes, primary)):
        return set()
    addresses = (address for address in service.load_balancer_ips if family_of(address) is family)
    return {Prefix(address, 8 * len(address)) for address in addresses}


def _families_of(text: str) -> frozenset[Family]:
    if ":" in text:
        return frozenset({Family.IPV6})
    return frozenset({Family.IPV4}) if "." in text else frozenset(Family)


def _masked(address: bytes, length: int) -> bytes:
    host_bits = max(8 * len(address) - length, 0)
    return (int.from_bytes(address) >> host_bits << host_bits).to_bytes(len(address))
