"""Which packets pass a device of a place: addresses and protocol of each, from a raw socket; little of their insides.

place, device -> captured() -> Captured, a list that grows -> Packet(source, destination, protocol, first_byte, ttl)
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.topology import Place
from tests.netns.host_helpers import inside

_EVERY_PROTOCOL = 0x0003
_IPV4, _IPV6 = 0x0800, 0x86DD
_SNAPPED = 64
_BUFFER = 1 << 24
_SO_RCVBUFFORCE = 33
"""Of <asm-generic/socket.h>; the socket module has no name for it."""


class Packet(NamedTuple):
    """The outermost network header."""

    source: str
    destination: str
    protocol: int
    first_byte: int
    """Of what follows it: of ICMP the type."""
    ttl: int
    """Or hop limit."""


class Captured(list[Packet]):
    """What passed the device up to the last look."""

    def __init__(self, tap: socket.socket) -> None:
        super().__init__()
        self._tap = tap

    def look(self) -> None:
        """Take in what has passed since."""
        while (frame := _next(self._tap)) is not None:
            self += _parse(frame)


@contextmanager
def captured(place: Place, device: str) -> Iterator[Captured]:
    """Give a list that has, after the block, what passed the device in it, in and out."""
    with inside(namespace_path(place.netns)):
        # With a protocol it would take in every device's packets until it is bound to one.
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        tap.bind((device, _EVERY_PROTOCOL))
    with tap:
        tap.setblocking(False)
        found = Captured(tap)
        yield found
        found.look()


def _next(tap: socket.socket) -> bytes | None:
    try:
        return tap.recv(_SNAPPED)
    except BlockingIOError:
        return None


def _parse(frame: bytes) -> Iterator[Packet]:
    (kind,) = struct.unpack_from("!H", frame, 12)
    header = frame[14:]
    if kind == _IPV4:
        yield Packet(_text(header[12:16]), _text(header[16:20]), header[9], header[4 * (header[0] & 0xF)], header[8])
    elif kind == _IPV6:
        yield Packet(_text(header[8:24]), _text(header[24:40]), header[6], header[40], header[7])


def _text(packed: bytes) -> str:
    return str(ip_address(packed))
