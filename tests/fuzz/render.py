"""The bytes that must come out: addresses, ports, TTL and checksums changed, or an answer in place of the packet.

    Decision --render--> frame

Checksums are updated, not computed anew, so that a wrong one stays as wrong as it was. What is rewritten beside the
addresses differs by kind: ports and checksum; nothing of a later fragment; of an ICMP error what it quotes, backwards.
"""

from ebpflb.core.abi import Family, Protocol
from tests.fuzz import checksums, sctp
from tests.fuzz.answers import answer
from tests.fuzz.decision import ANSWERS, Act, Decision, Work
from tests.fuzz.flowtable import AT_EGRESS, DSR, REPLY
from tests.fuzz.headers import Kind
from tests.fuzz.outer import encapsulate, lower_mss
from tests.fuzz.packet import ICMP_HEADER, L2, Packet
from tests.fuzz.rows import Ends, Flow, Hook, reverse

_MACS = 6
_TCP, _UDP, _SCTP = int(Protocol.TCP), int(Protocol.UDP), int(Protocol.SCTP)
_L4_CHECKSUM = {_TCP: 16, _UDP: 6}
_SCTP_CHECKSUM = 8
_ICMP_CHECKSUM = 2
_IPV4_CHECKSUM = 10
_SADDR = {Family.IPV4: 12, Family.IPV6: 8}
_TTL = {Family.IPV4: 8, Family.IPV6: 7}


def render(decision: Decision, family: Family) -> bytes:
    """Return the frame that must come out."""
    assert decision.work is not None
    packet = decision.work.packet
    if decision.act in ANSWERS:
        return swap_macs(answer(packet, decision.act, decision.mtu, family))
    assert decision.flow is not None
    if decision.act is Act.FORWARD:
        frame = _forwarded(packet, decision.flow, family)
        is_sent = decision.work.hook is Hook.XDP_IN and decision.route is not None
        return decision.route.macs + frame[2 * _MACS :] if is_sent and decision.route else frame
    changed = rewritten(packet, decision.flow.to, family)
    if decision.act is Act.HAIRPIN:
        return swap_macs(changed)
    return bytes(lower_mss(changed, packet, family) if decision.flow.flags & DSR else changed)


def can_rewrite(work: Work, flow: Flow) -> bool:
    """Say whether the checksum is in reach: SCTP's covers the whole packet, of which a fragment has a part."""
    packet = work.packet
    if packet.protocol != _SCTP or packet.kind in {Kind.LATER_FRAGMENT, Kind.ICMP_ERROR}:
        return True
    if flow.to[-4:] == packet.ends[-4:] and not work.takes_any_port:
        return True
    return packet.kind is Kind.WHOLE and packet.length >= packet.l4 - L2


def swap_macs(frame: bytes | bytearray) -> bytes:
    """Return a frame that goes back to its sender."""
    return bytes(frame[_MACS : 2 * _MACS] + frame[:_MACS] + frame[2 * _MACS :])


def _forwarded(packet: Packet, flow: Flow, family: Family) -> bytes:
    """What the node itself sends was not routed here: its TTL stays."""
    if flow.flags & DSR and not flow.flags & REPLY:
        frame = bytearray(packet.frame)
        _decrement_ttl(frame, family)
        return encapsulate(frame, packet, flow.to, family)
    frame = rewritten(packet, flow.to, family)
    if not flow.flags & AT_EGRESS:
        _decrement_ttl(frame, family)
    return bytes(frame)


def _decrement_ttl(frame: bytearray, family: Family) -> None:
    frame[L2 + _TTL[family]] -= 1
    if family is Family.IPV4:
        _update(frame, L2 + _IPV4_CHECKSUM, -0x100)


def rewritten(packet: Packet, to: Ends, family: Family) -> bytearray:
    """Return the frame with other ends."""
    frame, size, protocol = bytearray(packet.frame), 2 * family.address_bytes, packet.protocol
    if packet.kind is Kind.ICMP_ERROR:
        return _rewrite_error(frame, packet, to, family)
    if packet.kind is not Kind.LATER_FRAGMENT:
        if protocol == _SCTP:
            _rewrite_sctp(frame, packet, to)
        else:
            growth = checksums.difference(packet.ends, to)
            _update(frame, packet.l4 + _L4_CHECKSUM[protocol], growth, zero_is_none=protocol == _UDP)
            frame[packet.l4 : packet.l4 + 4] = to[size:]
    _set_addresses(frame, L2, packet.ends[:size], to[:size], family)
    return frame


def _set_addresses(frame: bytearray, at: int, before: bytes, after: bytes, family: Family) -> None:
    """Change the addresses of the network header at an offset, and its checksum."""
    if family is Family.IPV4:
        _update(frame, at + _IPV4_CHECKSUM, checksums.difference(before, after))
    frame[at + _SADDR[family] : at + _SADDR[family] + len(after)] = after


def _rewrite_sctp(frame: bytearray, packet: Packet, to: Ends) -> None:
    at, length = packet.l4 + _SCTP_CHECKSUM, packet.length - (packet.l4 - L2)
    if to[-4:] != packet.ends[-4:]:
        frame[at : at + 4] = sctp.updated(bytes(frame[at : at + 4]), packet.ends[-4:], to[-4:], length)
        frame[packet.l4 : packet.l4 + 4] = to[-4:]


def _rewrite_error(frame: bytearray, packet: Packet, to: Ends, family: Family) -> bytearray:
    """What is quoted went the other way. The source changes only where the flow changes it: else it is a router's."""
    size = family.address_bytes
    icmp, quoted = packet.l4, packet.l4 + ICMP_HEADER
    at = L2 + _SADDR[family]
    before = bytes(frame[at : at + 2 * size])
    source = before[:size] if to[:size] == packet.ends[:size] else to[:size]
    after = source + to[size : 2 * size]
    quote = bytes(frame[quoted:])
    _rewrite_quote(frame, packet, to, family)
    growth = checksums.difference(quote, bytes(frame[quoted:]))
    if family is Family.IPV6:
        growth += checksums.difference(before, after)
    _update(frame, icmp + _ICMP_CHECKSUM, growth)
    _set_addresses(frame, L2, before, after, family)
    return frame


def _rewrite_quote(frame: bytearray, packet: Packet, to: Ends, family: Family) -> None:
    """Of the quoted transport header, the checksum may be cut off."""
    before, after = reverse(packet.ends), reverse(to)
    size, l4 = 2 * family.address_bytes, packet.quoted_l4
    _set_addresses(frame, packet.l4 + ICMP_HEADER, before[:size], after[:size], family)
    frame[l4 : l4 + 4] = after[size:]
    if packet.protocol == _SCTP:
        return
    place = l4 + _L4_CHECKSUM[packet.protocol]
    if len(frame) >= place + 2:
        _update(frame, place, checksums.difference(before, after), zero_is_none=packet.protocol == _UDP)


def _update(frame: bytearray, at: int, growth: int, *, zero_is_none: bool = False) -> None:
    """In UDP, zero means that there is no checksum: it stays, and no sum becomes it (RFC 768)."""
    old = frame[at] << 8 | frame[at + 1]
    if zero_is_none and not old:
        return
    new = checksums.shifted(old, growth)
    if zero_is_none and not new:
        new = 0xFFFF
    frame[at : at + 2] = new.to_bytes(2, "big")
