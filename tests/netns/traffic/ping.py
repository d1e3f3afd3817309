"""Pings once, by a raw socket, and tells who said what: a ``ping`` command may be absent, and prints for people.

    python -m tests.netns.traffic.ping ADDRESS SECONDS [TTL] [BYTES] -> {"type": 0, "source": ADDRESS, "intact": true}

An error quotes the ping: it is an answer, too. Silence is ``{}``.
"""

import json
import os
import socket
import struct
import sys
import time

from ebpflb.bench.servers import die_with_parent

_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
"""Types of the request and of its reply."""


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _request(kind: int, identifier: int, payload: bytes) -> bytes:
    # ICMPv6's checksum, which covers a pseudo header, is the kernel's business.
    packet = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + payload
    return packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]


def _answer(sock: socket.socket, request: bytes, wanted: int, seconds: float) -> dict[str, object]:
    """Return the first message that is about the request: its reply, or an error that quotes it."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        sock.settimeout(remaining)
        packet, (source, *_) = sock.recvfrom(65_536)
        message = packet[(packet[0] & 15) * 4 :] if sock.family == socket.AF_INET else packet
        if message[0] == wanted and message[4:8] == request[4:8]:
            return {"type": message[0], "source": source, "intact": message[8:] == request[8:]}
        if message[0] not in {request[0], wanted} and request[4:8] in message[8:]:
            return {"type": message[0], "source": source, "intact": True}
    return {}


def main() -> None:
    """Ping as the arguments say."""
    die_with_parent()
    address, seconds, *numbers = sys.argv[1:]
    ttl, length = [*map(int, numbers), 64, 56][:2] if numbers else (64, 56)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        kind, reply = _ECHO[family]
        request = _request(kind, os.getpid() & 0xFFFF, os.urandom(length))
        try:
            sock.sendto(request, (address, 0))
            answer = _answer(sock, request, reply, float(seconds))
        except TimeoutError:
            answer = {}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
