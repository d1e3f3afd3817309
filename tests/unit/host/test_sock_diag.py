import socket
import struct

import pytest

from ebpflb.core.abi import Protocol
from ebpflb.host.sock_diag import pack_request, parse_socket, split_messages
from ebpflb.host.sockets import StaleSocket, as_stale


def entry(family: int, remote: bytes, port: int, cookie: int) -> bytes:
    identity = struct.pack("!HH16s16s", 40000, port, b"\x0a", remote) + struct.pack("=IQ", 7, cookie)
    return struct.pack("=BBBB", family, 1, 0, 0) + identity + bytes(20)


def test_reads_ipv4() -> None:
    found = parse_socket(Protocol.UDP, entry(socket.AF_INET, b"\x0a\x00\x00\x01", 53, 1 << 40 | 5))
    assert as_stale(found) == StaleSocket(1 << 40 | 5, b"\x0a\x00\x00\x01", 53, Protocol.UDP)
    assert len(found.identity) == 48


def test_reads_ipv6_and_mapped_ipv4() -> None:
    address = socket.inet_pton(socket.AF_INET6, "fd00::1")
    assert as_stale(parse_socket(Protocol.UDP, entry(socket.AF_INET6, address, 53, 5))) == StaleSocket(
        5, address, 53, Protocol.UDP
    )
    mapped = socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.1")
    found = parse_socket(Protocol.UDP, entry(socket.AF_INET6, mapped, 53, 5))
    assert as_stale(found) == StaleSocket(5, b"\x0a\x00\x00\x01", 53, Protocol.UDP)
    assert found.family == socket.AF_INET6


@pytest.mark.parametrize(("protocol", "states"), [(Protocol.UDP, {1}), (Protocol.TCP, {1, 2, 4, 5, 8})])
def test_a_request_names_the_socket_by_cookie(protocol: Protocol, states: set[int]) -> None:
    """States are those of net/tcp_states.h: no listener, nothing in TIME_WAIT."""
    found = parse_socket(protocol, entry(socket.AF_INET, b"\x0a\x00\x00\x01", 53, 0x1122334455667788))
    request = pack_request(21, 4, found.protocol, found.family, found.identity)
    assert len(request) == 16 + 56 == struct.unpack_from("=I", request)[0]
    assert request[16:18] == bytes([socket.AF_INET, protocol])
    assert {bit for bit in range(32) if struct.unpack_from("=I", request, 20)[0] >> bit & 1} == states
    assert request.endswith(struct.pack("=Q", 0x1122334455667788))


def test_splits_messages_and_survives_a_bad_length() -> None:
    first = struct.pack("=IHHII", 18, 20, 0, 1, 0) + b"ab" + b"\0\0"
    second = struct.pack("=IHHII", 16, 3, 0, 1, 0)
    assert list(split_messages(first + second)) == [(20, b"ab"), (3, b"")]
    assert len(list(split_messages(struct.pack("=IHHII", 0, 20, 0, 1, 0)))) == 1
