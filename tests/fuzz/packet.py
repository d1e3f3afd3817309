"""What a frame says, read byte by byte: addresses, ports, kind. Decides nothing and changes nothing.

    frame --parse--> Packet, or None: none of our business (RFC 9293, 768, 9260, 792, 4443, 2003, 2473)

Two kinds of packets stand for another one and have its ends: an ICMP error those of the flow that it is about, read
backwards; a packet in an outer header (DSR) those of the inner one.
"""

from dataclasses import dataclass, field, replace

from ebpflb.core.abi import Family, FlowSeen, Protocol
from tests.fuzz.headers import Header, Kind, is_extension, read_header
from tests.fuzz.rows import Ends, reverse

L2 = 14
"""Bytes of an Ethernet header."""
ICMP_HEADER = 8
OUTER = {Family.IPV4: 4, Family.IPV6: 41}
"""The protocol of an outer header."""
ICMP = {Family.IPV4: 1, Family.IPV6: 58}
ERRORS = {Family.IPV4: (3, 11, 12), Family.IPV6: (1, 2, 3, 4)}
"""Unreachable, (packet too big,) time exceeded, parameter problem."""
ECHO = {Family.IPV4: 8, Family.IPV6: 128}
_NETWORK = {Family.IPV4: 20, Family.IPV6: 40}
_TCP, _UDP, _SCTP = int(Protocol.TCP), int(Protocol.UDP), int(Protocol.SCTP)
TRANSPORTS = (_TCP, _UDP, _SCTP)
_NO_PORTS = bytes(4)
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_INIT, _ABORT, _SHUTDOWN_COMPLETE = 1, 6, 14
_SYN_SEEN, _DATA, _FIN_SEEN, _RST_SEEN = (int(bit) for bit in FlowSeen if bit <= FlowSeen.RST)


@dataclass(slots=True)
class Packet:
    """One parsed frame. Offsets are those of the frame without its outer header."""

    frame: bytes = field(repr=False)
    """Without its outer header."""
    ends: Ends
    protocol: int
    ttl: int
    length: int
    """Of the packet, as its header tells."""
    l4: int
    """Offset of the transport header."""
    kind: Kind
    fragment_id: bytes
    outer_daddr: bytes = b""
    """The destination of the outer header, if there is one."""
    quoted_l4: int = 0
    """Of an ICMP error: offset of the transport header that it quotes."""
    seen: int = 0
    opens: bool = False
    """TCP SYN without ACK and RST (a reset opens nothing: RFC 9293, 3.10.7.2), SCTP INIT."""
    resets: bool = False
    is_syn_ack: bool = False

    @property
    def key(self) -> bytes:
        """Return the key of the packet's flow."""
        return self.ends + bytes((self.protocol,))

    @property
    def datagram(self) -> bytes:
        """Return the key of the packet's datagram."""
        return self.ends[:-4] + self.fragment_id + bytes((self.protocol,))


def is_of_others(frame: bytes, family: Family) -> bool:
    """Say whether a frame that XDP does not read is whole, without options, and neither TCP nor UDP."""
    header = read_header(frame, L2, family)
    if header is None or header.protocol in {_TCP, _UDP}:
        return False
    return header.kind is Kind.WHOLE and header.size == _NETWORK[family]


def destination(frame: bytes, family: Family) -> bytes:
    """Return where a frame of this family goes, by its first network header."""
    end = L2 + _NETWORK[family]
    return frame[end - family.address_bytes : end]


def parse_plain(frame: bytes, family: Family) -> Packet | None:
    """Return what the frame says, if it is TCP or UDP, whole, right behind the network header: XDP reads no other."""
    header = read_header(frame, L2, family)
    if header is None or header.kind is not Kind.WHOLE or header.size != _NETWORK[family]:
        return None
    packet = _packet(frame, header)
    if packet.protocol == _TCP:
        return _read_tcp(packet)
    return _read_udp(packet) if packet.protocol == _UDP else None


def is_tcs(frame: bytes, family: Family) -> bool:
    """Say whether tc may translate what XDP does not read: what stands for another packet, SCTP, options, fragments."""
    if len(frame) < L2 + _NETWORK[family] or frame[L2] >> 4 != family:
        return False
    if family is Family.IPV6:
        protocol = frame[L2 + 6]
        return is_extension(protocol) or protocol in {_SCTP, ICMP[family], OUTER[family]}
    words, is_fragment = frame[L2] & 15, bool(frame[L2 + 6] & 0x3F or frame[L2 + 7])
    return words >= 5 and (words > 5 or is_fragment or frame[L2 + 9] in {_SCTP, ICMP[family], OUTER[family]})


def parse(frame: bytes, family: Family) -> Packet | None:
    """Return what the frame says."""
    header, outer_daddr = read_header(frame, L2, family), b""
    if header is None:
        return None
    size = _NETWORK[family]
    if header.protocol == OUTER[family] and header.kind is Kind.WHOLE and header.size == size:
        outer_daddr = header.addresses[family.address_bytes :]
        frame = frame[:L2] + frame[L2 + size :]
        header = read_header(frame, L2, family)
        if header is None:
            return None
    packet = _packet(frame, header)
    packet.outer_daddr = outer_daddr
    if packet.kind is Kind.LATER_FRAGMENT:
        return packet
    return _read_transport(packet, family)


def _packet(frame: bytes, header: Header) -> Packet:
    return Packet(
        frame,
        header.addresses + _NO_PORTS,
        header.protocol,
        header.ttl,
        header.length,
        L2 + header.size,
        header.kind,
        header.fragment_id,
    )


def _read_transport(packet: Packet, family: Family) -> Packet | None:
    protocol = packet.protocol
    if protocol == _TCP:
        return _read_tcp(packet)
    if protocol == _UDP:
        return _read_udp(packet)
    if protocol == _SCTP:
        return _read_sctp(packet)
    found = _read_icmp(packet, family) if protocol == ICMP[family] and packet.kind is Kind.WHOLE else None
    return found or replace(packet, kind=Kind.OTHER)


def _take_ports(packet: Packet) -> None:
    packet.ends = packet.ends[:-4] + packet.frame[packet.l4 : packet.l4 + 4]


def _read_tcp(packet: Packet) -> Packet | None:
    frame, l4 = packet.frame, packet.l4
    if len(frame) < l4 + 20:
        return None
    _take_ports(packet)
    flags = frame[l4 + 13]
    packet.opens = flags & (_SYN | _ACK | _RST) == _SYN
    packet.is_syn_ack = flags & (_SYN | _ACK) == _SYN | _ACK
    packet.resets = flags & _RST != 0
    packet.seen = _SYN_SEEN if packet.opens else _DATA
    if flags & _FIN:
        packet.seen |= _FIN_SEEN
    if flags & _RST:
        packet.seen |= _RST_SEEN
    return packet


def _read_udp(packet: Packet) -> Packet | None:
    if len(packet.frame) < packet.l4 + 8:
        return None
    _take_ports(packet)
    packet.seen = _DATA
    return packet


def _read_sctp(packet: Packet) -> Packet | None:
    """The first chunk tells what the packet is."""
    if len(packet.frame) < packet.l4 + 16:
        return None
    _take_ports(packet)
    chunk = packet.frame[packet.l4 + 12]
    packet.opens = chunk == _INIT
    packet.resets = chunk in (_ABORT, _SHUTDOWN_COMPLETE)
    packet.seen = (_SYN_SEEN if packet.opens else _DATA) | (_RST_SEEN if packet.resets else 0)
    return packet


def _read_icmp(packet: Packet, family: Family) -> Packet | None:
    frame, l4 = packet.frame, packet.l4
    if len(frame) < l4 + ICMP_HEADER:
        return None
    if frame[l4] in ERRORS[family]:
        return _read_quote(packet, family)
    if frame[l4] != ECHO[family] or frame[l4 + 1]:
        return None
    packet.kind = Kind.ECHO
    return packet


def _read_quote(packet: Packet, family: Family) -> Packet | None:
    """An error goes against the packet that it quotes, to its sender: its ends are the quoted ones, reversed."""
    at, size = packet.l4 + ICMP_HEADER, family.address_bytes
    quoted = read_header(packet.frame, at, family)
    if quoted is None or quoted.kind is Kind.LATER_FRAGMENT or quoted.protocol not in TRANSPORTS:
        return None
    if quoted.addresses[:size] != packet.ends[size : 2 * size]:
        return None
    ports = packet.frame[at + quoted.size : at + quoted.size + 4]
    if len(ports) < len(_NO_PORTS):
        return None
    packet.kind, packet.protocol = Kind.ICMP_ERROR, quoted.protocol
    packet.ends, packet.quoted_l4 = reverse(quoted.addresses + ports), at + quoted.size
    return packet
