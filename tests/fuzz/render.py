"""The bytes that must come out: addresses, ports, TTL and checksums changed, or an answer in place of the packet.

    Decision --render--> frame

Checksums are updated, not computed anew, so that a wrong one stays as wrong as it was.
"""

from ebpflb.core.abi import Family, Protocol
from tests.fuzz import checksums
from tests.fuzz.answers import reject
from tests.fuzz.packet import L2, Packet
from tests.fuzz.reference import Act, Decision
from tests.fuzz.rows import Ends

_MACS = 6
_L4_CHECKSUM: dict[int, int] = {Protocol.TCP: 16, Protocol.UDP: 6}
_IPV4_CHECKSUM = L2 + 10
_SADDR = {Family.IPV4: L2 + 12, Family.IPV6: L2 + 8}
_TTL = {Family.IPV4: L2 + 8, Family.IPV6: L2 + 7}


def render(decision: Decision, family: Family) -> bytes | None:
    """Return the frame that must come out; None when it is of no interest."""
    packet = decision.packet
    if packet is None or decision.act is Act.DROP:
        return None
    if decision.act is Act.REJECT:
        return reject(packet, family)
    assert decision.flow is not None
    frame = rewrite(packet, decision.flow.to, family, one_hop=decision.act is Act.FORWARD)
    return swap_macs(frame) if decision.act is Act.HAIRPIN else bytes(frame)


def swap_macs(frame: bytes | bytearray) -> bytes:
    """Return a frame that goes back to its sender."""
    return bytes(frame[_MACS : 2 * _MACS] + frame[:_MACS] + frame[2 * _MACS :])


def rewrite(packet: Packet, to: Ends, family: Family, *, one_hop: bool) -> bytearray:
    """Return the frame with other ends, and with a TTL less by one if it is forwarded."""
    frame, l4, size = bytearray(packet.frame), packet.l4, 2 * family.address_bytes
    at = l4 + _L4_CHECKSUM[packet.protocol]
    _update(frame, at, checksums.difference(packet.ends, to), is_udp=packet.protocol == Protocol.UDP)
    if family is Family.IPV4:
        growth = checksums.difference(packet.ends[:size], to[:size]) - (0x100 if one_hop else 0)
        _update(frame, _IPV4_CHECKSUM, growth, is_udp=False)
    frame[_TTL[family]] -= one_hop
    frame[_SADDR[family] : _SADDR[family] + size] = to[:size]
    frame[l4 : l4 + 4] = to[size:]
    return frame


def _update(frame: bytearray, at: int, growth: int, *, is_udp: bool) -> None:
    """In UDP, zero means that there is no checksum: it stays, and no sum becomes it (RFC 768)."""
    old = frame[at] << 8 | frame[at + 1]
    if is_udp and not old:
        return
    new = checksums.shifted(old, growth)
    if is_udp and not new:
        new = 0xFFFF
    frame[at : at + 2] = new.to_bytes(2, "big")
