"""What a frame says, read byte by byte: addresses, ports, kind. Decides nothing and changes nothing.

frame --parse--> Packet, or None: not TCP or UDP in whole headers (RFC 791, 8200, 9293, 768)
"""

from dataclasses import dataclass, field

from ebpflb.core.abi import Family, FlowSeen, Protocol
from tests.fuzz.rows import Ends

L2 = 14
"""Bytes of an Ethernet header."""
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_SEEN_SYN, _SEEN_DATA, _SEEN_FIN, _SEEN_RST = (
    int(bit) for bit in (FlowSeen.SYN, FlowSeen.DATA, FlowSeen.FIN, FlowSeen.RST)
)


@dataclass(slots=True)
class Packet:
    """One parsed frame."""

    frame: bytes = field(repr=False)
    ends: Ends
    protocol: int
    ttl: int
    l4: int
    """Offset of the transport header in the frame."""
    seen: int = 0
    opens: bool = False
    """SYN without ACK."""
    resets: bool = False

    @property
    def key(self) -> bytes:
        """Return the key of the packet's flow."""
        return self.ends + bytes((self.protocol,))


class Fragment(Exception):  # noqa: N818 - not an error
    """The frame holds a fragment."""


def parse(frame: bytes, family: Family) -> Packet | None:
    """Return what the frame says; raises ``Fragment`` for one."""
    packet = _parse_ipv4(frame) if family is Family.IPV4 else _parse_ipv6(frame)
    if packet is None:
        return None
    if packet.protocol == Protocol.TCP:
        return _parse_tcp(packet)
    if packet.protocol == Protocol.UDP:
        return _parse_udp(packet)
    return None


def _parse_ipv4(frame: bytes) -> Packet | None:
    if len(frame) < L2 + 20:
        return None
    first = frame[L2]
    if first >> 4 != 4 or first & 15 < 5:
        return None
    if frame[20] & 0x3F or frame[21]:
        raise Fragment
    return Packet(frame, frame[26:34], frame[23], frame[22], L2 + 4 * (first & 15))


def _parse_ipv6(frame: bytes) -> Packet | None:
    if len(frame) < L2 + 40 or frame[L2] >> 4 != 6:
        return None
    return Packet(frame, frame[22:54], frame[20], frame[21], L2 + 40)


def _parse_tcp(packet: Packet) -> Packet | None:
    frame, l4 = packet.frame, packet.l4
    if len(frame) < l4 + 20:
        return None
    flags = frame[l4 + 13]
    packet.ends += frame[l4 : l4 + 4]
    packet.opens = flags & (_SYN | _ACK) == _SYN
    packet.resets = flags & _RST != 0
    packet.seen = _SEEN_SYN if packet.opens else _SEEN_DATA
    if flags & _FIN:
        packet.seen |= _SEEN_FIN
    if flags & _RST:
        packet.seen |= _SEEN_RST
    return packet


def _parse_udp(packet: Packet) -> Packet | None:
    frame, l4 = packet.frame, packet.l4
    if len(frame) < l4 + 8:
        return None
    packet.ends += frame[l4 : l4 + 4]
    packet.seen = _SEEN_DATA
    return packet
