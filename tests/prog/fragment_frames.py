"""Frames of a datagram that was cut into fragments.

lab, Wire, length of the first part --fragments--> the frame of the first fragment, the frame of the rest
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
    first = _frame(lab, wire, datagram[:length], 0, more=True)
    return first, _frame(lab, wire, datagram[length:], length // 8, more=False)


def _frame(lab: Lab, wire: Wire, part: bytes, offset: int, *, more: bool) -> bytes:
    header = network(wire, lab.family)
    if lab.family is Family.IPV4:
        header.flags, header.frag, header.proto = int(more), offset, lab.protocol
    else:
        header /= IPv6ExtHdrFragment(nh=int(lab.protocol), offset=offset, m=int(more), id=7)
    return bytes(ethernet(wire) / header / Raw(part))
