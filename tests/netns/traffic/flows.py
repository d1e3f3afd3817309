"""The flow tables of a node as a test needs them: whether flows still lead somewhere, and no flow of an earlier test.

UDP has no end: a flow stays for two minutes, for whichever socket gets its port next. Where what is expected of a
caller changes, an earlier call's flow would answer once in some thousand tests.

pins, family, protocol -> leads_to(dialled, addresses) -> bool        pins, families -> forget_datagrams()
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from ebpflb.core.abi import Family, FlowSeen, Protocol
from ebpflb.datapath.columns import addresses_of
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map

FLOW_MAPS = ("flows", "pending")


def leads_to(
    pins: Pins, family: Family, protocol: Protocol, frontend: tuple[str, int], addresses: Iterable[str]
) -> bool:
    """Say whether a flow leads what is sent to a frontend's address and port to one of these addresses."""
    host, port = ip_address(frontend[0]).packed, frontend[1]
    wanted = [ip_address(address).packed for address in addresses]
    for opened in _flow_maps(pins, family):
        keys, values = opened.read()
        sent = (keys["protocol"] == protocol) & (keys["dport"] == port) & ((values["seen"] & FlowSeen.MOVED) == 0)
        ways = set(zip(addresses_of(keys["daddr"][sent]), addresses_of(values["to_daddr"][sent]), strict=True))
        if any((host, each) in ways for each in wanted):
            return True
    return False


def forget_datagrams(pins: Pins, families: Iterable[Family]) -> None:
    """Let a node begin anew with everybody who speaks UDP."""
    for family in families:
        for opened in _flow_maps(pins, family):
            keys, _values = opened.read()
            opened.delete(keys[keys["protocol"] == Protocol.UDP])


def _flow_maps(pins: Pins, family: Family) -> Iterator[BpfMap]:
    for name in FLOW_MAPS:
        with open_map(pins, family, name) as opened:
            yield opened
