"""The kernel's socket diagnosis protocol, as far as sockets with a peer need it: list them, destroy one.

Decides how messages are packed, and which states have a peer. Must not know which socket deserves what. pyroute2's
``DiagSocket`` has neither cookies in requests nor SOCK_DESTROY, hence plain structs (linux/inet_diag.h).

    SockDiag.connected -> ConnectedSocket ... -> SockDiag.destroy
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from ebpflb.core.abi import Protocol

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_SOCK_DESTROY: Final = 21
_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_ESTABLISHED, _SYN_SENT, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 1, 2, 4, 5, 8  # net/tcp_states.h
_CONNECTED: Final[Mapping[Protocol, int]] = {
    Protocol.UDP: 1 << _ESTABLISHED,
    Protocol.TCP: 1 << _ESTABLISHED | 1 << _SYN_SENT | 1 << _FIN_WAIT1 | 1 << _FIN_WAIT2 | 1 << _CLOSE_WAIT,
}
"""States in which somebody may wait for the peer. A connected UDP socket is in TCP's ESTABLISHED, others in CLOSE."""
_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE})
"""No socket has these addresses and ports, or another one does."""
_RECEIVE_BYTES: Final = 1 << 16

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST: Final = struct.Struct("=BBBBI48s")  # family, protocol, ext, pad, states, struct inet_diag_sockid
_ENTRY: Final = struct.Struct("=BBBB48s")  # family, state, timer, retrans, struct inet_diag_sockid
_SOCKET_ID: Final = struct.Struct("!HH16s16s")  # ports and addresses, in network order...
_SOCKET_ID_REST: Final = struct.Struct("=III")  # ...then device and the halves of the cookie, in the host's
_NO_ADDRESS: Final = bytes(16)
_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class ConnectedSocket:
    """A socket with a peer, of the namespace that was asked."""

    protocol: Protocol
    family: int
    cookie: int
    remote_address: bytes
    """4 bytes for IPv4, also when an IPv6 socket talks it."""
    remote_port: int
    identity: bytes
    """``struct inet_diag_sockid`` as the kernel wrote it: names this socket and, by its cookie, no later one."""


class NotSupportedError(Exception):
    """The kernel was built without what was asked of it: a protocol's diagnosis, or CONFIG_INET_DIAG_DESTROY."""


def parse_socket(protocol: Protocol, payload: bytes) -> ConnectedSocket:
    """Read a ``struct inet_diag_msg``."""
    family, _, _, _, identity = _ENTRY.unpack_from(payload)
    _, remote_port, _, remote = _SOCKET_ID.unpack_from(identity)
    _, cookie_low, cookie_high = _SOCKET_ID_REST.unpack_from(identity, _SOCKET_ID.size)
    if family == socket.AF_INET:
        remote = remote[:4]
    elif remote.startswith(_MAPPED_PREFIX):
        remote = remote[len(_MAPPED_PREFIX) :]
    return ConnectedSocket(protocol, family, cookie_high << 32 | cookie_low, remote, remote_port, identity)


def pack_request(kind: int, flags: int, protocol: Protocol, family: int, identity: bytes) -> bytes:
    """Build a request of ``struct inet_diag_req_v2`` for sockets with a peer."""
    body = _REQUEST.pack(family, protocol, 0, 0, _CONNECTED[protocol], identity)
    return _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, 1, 0) + body


def split_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload of each netlink message in a datagram."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, position)
        yield kind, data[position + _HEADER.size : position + length]
        position += max((length + 3) & ~3, _HEADER.size)


class SockDiag:
    """An open diagnosis socket; it keeps the network namespace of the thread that opened it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._socket.close()

    def connected(self, protocol: Protocol, family: int, remote_port: int = 0) -> list[ConnectedSocket]:
        """Return the sockets of a protocol and address family that have a peer, of one remote port if given."""
        identity = _SOCKET_ID.pack(0, remote_port, _NO_ADDRESS, _NO_ADDRESS) + _SOCKET_ID_REST.pack(0, 0, 0)
        request = pack_request(_SOCK_DIAG_BY_FAMILY, _NLM_F_DUMP, protocol, family, identity)
        try:
            return [parse_socket(protocol, payload) for payload in self._exchange(request)]
        except FileNotFoundError as error:
            raise NotSupportedError(f"no diagnosis of {protocol.name} sockets") from error

    def destroy(self, target: ConnectedSocket) -> bool:
        """Abort a socket: its owner's pending and next calls return ECONNABORTED. Return False if it is gone."""
        request = pack_request(_SOCK_DESTROY, _NLM_F_ACK, target.protocol, target.family, target.identity)
        try:
            for _ in self._exchange(request):
                pass
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        return True

    def _exchange(self, request: bytes) -> Iterator[bytes]:
        self._socket.send(request)
        while True:
            for kind, payload in split_messages(self._socket.recv(_RECEIVE_BYTES)):
                if kind == _NLMSG_DONE:
                    return
                if kind != _NLMSG_ERROR:
                    yield payload
                    continue
                (negative,) = struct.unpack_from("=i", payload)
                if negative == 0:
                    return
                if -negative in {errno.EOPNOTSUPP, errno.EINVAL}:
                    raise NotSupportedError(os.strerror(-negative))
                raise OSError(-negative, os.strerror(-negative))


def undestroyable() -> list[Protocol]:
    """Return the protocols whose sockets this kernel cannot destroy."""
    return [protocol for protocol in _CONNECTED if not _can_destroy(protocol)]


def _can_destroy(protocol: Protocol) -> bool:
    """Ask the kernel, by the destruction of a socket that cannot exist: port 0 of no address."""
    identity = _SOCKET_ID.pack(0, 0, _NO_ADDRESS, _NO_ADDRESS) + _SOCKET_ID_REST.pack(0, 1, 0)
    try:
        with SockDiag() as diag:
            # Without a protocol's diagnosis a destruction fails as that of a missing socket does; a list tells.
            diag.connected(protocol, socket.AF_INET, remote_port=1)
            diag.destroy(ConnectedSocket(protocol, socket.AF_INET, 1, bytes(4), 0, identity))
    except (NotSupportedError, OSError):
        return False
    return True
