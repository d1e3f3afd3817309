"""Decides which addresses stand in for a client's when a masqueraded packet leaves by an uplink. Pure.

Knows what each device has, best first; must not know where that comes from nor what is masqueraded.

A device without an address of a family (an overlay device, an unnumbered link) borrows one of another device, as the
kernel does for the host's own packets: replies to any of them come to this host. Another uplink lends before loopback
does, where some keep addresses that other hosts have as well (anycast, direct server return). What is never among
them: link-local addresses, which no router forwards, and those that are not verified or deprecated.

    each device's own addresses -> with_borrowed -> each uplink's addresses, at most one family of them borrowed
"""

from collections.abc import Iterable, Mapping, Sequence

from ebpflb.core.abi import Family


def of_family(addresses: Iterable[bytes], family: Family) -> list[bytes]:
    """Return the addresses of one family."""
    return [address for address in addresses if len(address) == family.address_bytes]


def with_borrowed(
    uplinks: Mapping[int, Sequence[bytes]], last_lenders: Iterable[Sequence[bytes]]
) -> dict[int, tuple[bytes, ...]]:
    """Return what each uplink (interface index: own addresses) may use; ``last_lenders`` lend where no uplink can."""
    lent = [address for each in (*uplinks.values(), *last_lenders) for address in each]
    return {
        ifindex: (*own, *(of_family(lent, family)[0] for family in Family if _can_borrow(family, own, lent)))
        for ifindex, own in uplinks.items()
    }


def _can_borrow(family: Family, own: Sequence[bytes], lent: Sequence[bytes]) -> bool:
    return not of_family(own, family) and bool(of_family(lent, family))
