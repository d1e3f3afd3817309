"""Frames of a datagram that was cut into fragments.

Wire, length of the first part --fragments--> the frame of the first fragment, the frame of the rest
"""

from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.packet import Raw

from ebpflb.core.abi import Family
from tests.prog.lab import Lab
from tests.prog.wire import ETHERNET_BYTES, Wire, ethernet, network

_IP_BYTES = {Family.IPV4: 20, Family.IPV6: 40}


def fragments(lab: Lab, wire: Wire, length: int) -> tuple[bytes, bytes]:
    """Return a datagram in two frames, the first with ``length`` bytes of it, a multiple of 8."""
    datagram = lab.frame(wire)[ETHERNET_BYTES + _IP_BYTES[lab.family] :]
    return _cut(lab.family, wire, datagram, length, lab.protocol)


def fragments_of(family: Family, wire: Wire, protocol: int) -> tuple[bytes, bytes]:
    """Return a datagram of any protocol in two frames; the ports of the wire stand where those of UDP would."""
    ports = (int(end.rpartition(":")[2]).to_bytes(2, "big") for end in (wire.src, wire.dst))
    return _cut(family, wire, b"".join(ports).ljust(48, b"\0"), 24, protocol)


def _cut(family: Family, wire: Wire, datagram: bytes, length: int, protocol: int) -> tuple[bytes, bytes]:
    first = _frame(family, wire, datagram[:length], 0, protocol, more=True)
    return first, _frame(family, wire, datagram[length:], length // 8, protocol, more=False)


def _frame(family: Family, wire: Wire, part: bytes, offset: int, protocol: int, *, more: bool) -> bytes:
    header = network(wire, family)
    if family is Family.IPV4:
        header.flags, header.frag, header.proto = int(more), offset, protocol
    else:
        header /= IPv6ExtHdrFragment(nh=int(protocol), offset=offset, m=int(more), id=7)
    return bytes(ethernet(wire) / header / Raw(part))
