"""Datagrams as a test sends them from inside a namespace: whole, or in fragments of its own making, in its own order.

place, (address, port) -> udp_client -> ask(payload) -> what came back
payload -> fragments() -> packets -> send_raw, in any order

Fragments leave by raw sockets that bring their own network header.
"""

import itertools
import os
import secrets
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Family
from tests.netns.host_helpers import inside

SECONDS = 30.0
"""For what will come, however long the machine has other things to do."""
NO_ANSWER_SECONDS = 0.5
"""For what must not arrive: much longer than anything here takes that does."""
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
_FRAGMENT_HEADER = 44

_identifications = itertools.count(secrets.randbelow(1 << 16))
"""In sequence: a number that comes again while fragments of the last datagram wait would mix the two."""

Address = tuple[str, int]


def address_family(family: Family) -> socket.AddressFamily:
    """Return the socket module's word for a family."""
    return socket.AF_INET if family is Family.IPV4 else socket.AF_INET6


@contextmanager
def udp_client(place: Place, target: Address, *, fragment: bool = True) -> Iterator[socket.socket]:
    """Give a connected socket of a place; one that may not ``fragment`` discovers the path MTU instead."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with inside(namespace_path(place.netns)):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with client:
        client.settimeout(SECONDS)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if not fragment and family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        elif not fragment:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
        client.connect(target)
        yield client


def ask(client: socket.socket, payload: bytes) -> bytes:
    """Send a datagram; return what comes back."""
    client.send(payload)
    return client.recv(65_536)


def path_mtu(client: socket.socket) -> int:
    """Return what the socket believes of its path."""
    if client.family == socket.AF_INET:
        return client.getsockopt(socket.IPPROTO_IP, IP_MTU)
    return client.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


def fragments(source: Address, target: Address, payload: bytes, count: int) -> list[bytes]:
    """Return a UDP datagram as that many packets, about as long as each other, in order; one is no fragment."""
    datagram = _datagram(source, target, payload)
    step = -(-len(datagram) // count // 8) * 8
    identification = next(_identifications) % (1 << 16)
    made = []
    for offset in range(0, len(datagram), step):
        part = datagram[offset : offset + step]
        more = offset + step < len(datagram)
        made.append(_packet(source[0], target[0], part, offset, identification, more=more))
    assert len(made) == count
    return made


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keep this thread to one CPU: each has its own queue of what veths hand over, and one overtakes the other."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def send_raw(place: Place, target: Address, packets: Iterable[bytes]) -> None:
    """Send packets, network header included; they arrive in this order."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with inside(namespace_path(place.netns)):
        sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sender, on_one_cpu():
        for packet in packets:
            sender.sendto(packet, (target[0], 0))


def _datagram(source: Address, target: Address, payload: bytes) -> bytes:
    length = 8 + len(payload)
    header = struct.pack("!HHHH", source[1], target[1], length, 0)
    ends = ip_address(source[0]).packed + ip_address(target[0]).packed
    checksum = _checksum(ends + struct.pack("!HH", length, socket.IPPROTO_UDP) + header + payload)
    return header[:6] + struct.pack("!H", checksum or 0xFFFF) + payload


def _packet(source: str, target: str, part: bytes, offset: int, number: int, *, more: bool) -> bytes:
    ends = ip_address(source).packed + ip_address(target).packed
    if ":" not in source:
        word = offset // 8 | (0x2000 if more else 0)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), number, word, 64, socket.IPPROTO_UDP, 0) + ends
        return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + part
    if not offset and not more:
        return struct.pack("!IHBB", 6 << 28, len(part), socket.IPPROTO_UDP, 64) + ends + part
    extension = struct.pack("!BBHI", socket.IPPROTO_UDP, 0, offset | more, number)
    return struct.pack("!IHBB", 6 << 28, 8 + len(part), _FRAGMENT_HEADER, 64) + ends + extension + part


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
