"""ICMP errors as a router or host would send them: built by scapy around the packet that they are about.

Error("router", "node:4000", "remote:8080") --frame--> bytes: from the router to the sender of the quoted packet
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Family
from tests.prog.lab import Lab
from tests.prog.wire import ETHERNET_BYTES, Wire, ethernet, network

MTU = 1400
_BUILD: dict[tuple[Family, str], Any] = {
    (Family.IPV4, "too big"): partial(ICMP, type=3, code=4, nexthopmtu=MTU),
    (Family.IPV4, "unreachable"): partial(ICMP, type=3, code=3),
    (Family.IPV4, "expired"): partial(ICMP, type=11, code=0),
    (Family.IPV6, "too big"): partial(ICMPv6PacketTooBig, mtu=MTU),
    (Family.IPV6, "unreachable"): partial(ICMPv6DestUnreach, code=4),
    (Family.IPV6, "expired"): partial(ICMPv6TimeExceeded, code=0),
}
KINDS = ("too big", "unreachable", "expired")
WHOLE = 10_000


@dataclass(frozen=True, slots=True)
class Error:
    """An error about a packet from ``quoted_src`` to ``quoted_dst``."""

    sender: str
    """A name."""
    quoted_src: str
    quoted_dst: str
    kind: str = "too big"
    quoted_bytes: int = WHOLE
    """Of the quoted packet, network header included."""
    ttl: int = 64
    swapped: bool = False
    no_checksum: bool = False

    def frame(self, lab: Lab) -> bytes:
        """Return the frame."""
        outer = Wire(f"{self.sender}:0", self.quoted_src, ttl=self.ttl, swapped=self.swapped)
        return bytes(ethernet(outer) / network(outer, lab.family) / self._icmp(lab) / Raw(self.quote(lab)))

    def quote(self, lab: Lab) -> bytes:
        """Return what is quoted: the packet as it was some hops later."""
        wire = Wire(self.quoted_src, self.quoted_dst, ttl=5, flags="PA", no_checksum=self.no_checksum)
        return lab.frame(wire)[ETHERNET_BYTES:][: self.quoted_bytes]

    def _icmp(self, lab: Lab) -> Packet:
        return _BUILD[lab.family, self.kind]()
