"""Test packets: a ``Wire`` says what a packet is in names, ``build`` says what it is in bytes.

    Wire("client:4000", "node:30080") + family, protocol --scapy--> a whole Ethernet frame

Checksums are scapy's: a frame that a program changed is right when it equals the frame that scapy builds from nothing
for the addresses and ports that it should have.
"""

from dataclasses import dataclass, replace
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Family, Protocol
from tests.prog.world import NODE_MAC, address

SENDER_MAC = "02:00:00:00:00:01"
ETHERNET_BYTES = 14
SCTP_CHUNKS = {"S": 1, "SA": 2, "FA": 7, "R": 6}
"""INIT, INIT ACK, SHUTDOWN, ABORT for the flags of TCP that mean the same; DATA for all others."""
PAYLOAD = b"ebpflb, a packet's inside."


@dataclass(frozen=True, slots=True)
class Wire:
    """One packet. Addresses are names of ``world.ADDRESSES``: ``"client:4000"``."""

    src: str
    dst: str
    ttl: int = 64
    payload: bytes = PAYLOAD
    flags: str = "S"
    """Of TCP, in scapy's letters: S, SA, A, FA, R. They choose the first chunk of SCTP."""
    seq: int = 1000
    ack: int = 0
    options: bytes = b""
    """Of IPv4; a multiple of four bytes."""
    no_checksum: bool = False
    """UDP over IPv4 without a checksum (RFC 768)."""
    swapped: bool = False
    """Goes back to where it came from: the MAC addresses change places."""

    def with_ttl(self, ttl: int) -> "Wire":
        """Return the packet with another TTL."""
        return replace(self, ttl=ttl)


def build(wire: Wire, family: Family, protocol: Protocol) -> bytes:
    """Return the frame."""
    return bytes(ethernet(wire) / network(wire, family) / transport(wire, protocol) / Raw(wire.payload))


def ethernet(wire: Wire) -> Packet:
    """Return the Ethernet header."""
    source, destination = (NODE_MAC, SENDER_MAC) if wire.swapped else (SENDER_MAC, NODE_MAC)
    return Ether(src=source, dst=destination)


def network(wire: Wire, family: Family, **fields: Any) -> Packet:
    """Return the IPv4 or IPv6 header."""
    source, destination = (address(end.rpartition(":")[0], family) for end in (wire.src, wire.dst))
    if family is Family.IPV6:
        return IPv6(src=source, dst=destination, hlim=wire.ttl, fl=0x12345, tc=0x48, **fields)
    options = {"options": [_raw_options(wire.options)]} if wire.options else {}
    return IP(src=source, dst=destination, ttl=wire.ttl, id=0x1234, tos=0x48, flags="DF", **options, **fields)


def transport(wire: Wire, protocol: Protocol) -> Packet:
    """Return the TCP, UDP or SCTP header; of SCTP also the first chunk's."""
    sport, dport = (int(end.rpartition(":")[2]) for end in (wire.src, wire.dst))
    if protocol is Protocol.TCP:
        return TCP(sport=sport, dport=dport, flags=wire.flags, seq=wire.seq, ack=wire.ack)
    if protocol is Protocol.SCTP:
        return SCTP(sport=sport, dport=dport, tag=wire.seq) / Raw(bytes([SCTP_CHUNKS.get(wire.flags, 0), 0, 0, 4]))
    return UDP(sport=sport, dport=dport, chksum=0) if wire.no_checksum else UDP(sport=sport, dport=dport)


def payload_with_checksum(wanted: int, wire: Wire, family: Family, protocol: Protocol) -> bytes:
    """Return a payload that gives the packet this transport checksum."""
    sum_without = 0xFFFF ^ _checksum(replace(wire, payload=bytes(2)), family, protocol)
    payload = ((0xFFFF ^ wanted) - sum_without) % 0xFFFF
    for candidate in (payload, 0xFFFF):  # zero has two forms in one's complement
        data = candidate.to_bytes(2, "big")
        if _checksum(replace(wire, payload=data), family, protocol) == wanted:
            return data
    raise AssertionError(f"no payload gives {protocol.name} the checksum {wanted:#06x}")


def _checksum(wire: Wire, family: Family, protocol: Protocol) -> int:
    layer = TCP if protocol is Protocol.TCP else UDP
    checksum: int = Ether(build(wire, family, protocol))[layer].chksum
    return checksum


def _raw_options(data: bytes) -> Any:
    return Raw(data)
