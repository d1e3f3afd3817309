"""The kernel's word on what XDP can do with a device, and the news that it changed (netdev family, Linux 6.3).

Decides how a device's features become one answer: can XDP send frames out of it? Must not know who asks. pyroute2 has
no such family; plain structs (linux/netdev.h).

    NetdevFeatures.read(ifindex) -> XdpFeature        .fileno, .changed: news
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from enum import IntFlag
from types import TracebackType
from typing import Final, Self

from ebpflb.host.links import Link
from ebpflb.host.rtnetlink import OverrunError
from ebpflb.host.xdp import has_unfinished_checksums
from ebpflb.host.xdp_messages import peer_runs_xdp

_GENERIC: Final = 16  # NETLINK_GENERIC
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_CONTROLLER: Final = 0x10  # GENL_ID_CTRL
_GETFAMILY: Final = 3  # CTRL_CMD_GETFAMILY
_FAMILY_ID: Final = 1  # CTRL_ATTR_*
_FAMILY_NAME: Final = 2
_GROUPS: Final = 7
_GROUP_NAME: Final = 1  # CTRL_ATTR_MCAST_GRP_*
_GROUP_ID: Final = 2
_DEV_GET: Final = 1  # NETDEV_CMD_DEV_GET
_DEV_CHANGED: Final = 4  # NETDEV_CMD_DEV_CHANGE_NTF
_IFINDEX: Final = 1  # NETDEV_A_DEV_*
_XDP_FEATURES: Final = 3
_REQUEST: Final = 0x1  # NLM_F_REQUEST
_ERROR: Final = 2  # NLMSG_ERROR
_TYPE_MASK: Final = 0x3FFF
_RECEIVE_BYTES: Final = 1 << 16

_HEADER: Final = struct.Struct("=IHHIIBBH")  # struct nlmsghdr, then struct genlmsghdr
_ATTRIBUTE: Final = struct.Struct("=HH")


class XdpFeature(IntFlag):
    """``enum netdev_xdp_act``, as far as it is used."""

    BASIC = 1
    """Drop, pass, abort; transmit, too, but on veth see ``TRANSMIT``."""
    TRANSMIT = 4
    """NETDEV_XDP_ACT_NDO_XMIT: takes frames that XDP redirects to it. A veth has it while its peer runs NAPI; without,
    what is sent out of it vanishes."""


class NetdevFeatures:
    """An open socket in the calling thread's network namespace. Without the family, nothing is known of any device."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _GENERIC)
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _GENERIC)
        try:
            self._socket.bind((0, 0))
            self._news.bind((0, 0))
            self._family = self._join()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close both sockets."""
        self._socket.close()
        self._news.close()

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the features of a device have changed."""
        return self._news.fileno()

    def changed(self) -> Iterator[int]:
        """Yield, without waiting, devices whose features have changed; raises ``OverrunError`` if news were lost."""
        while True:
            try:
                news = self._news.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise OverrunError from error
                raise
            *_, command, _, _ = _HEADER.unpack_from(news)
            attributes = dict(_split(news[_HEADER.size :]))
            if command == _DEV_CHANGED and _IFINDEX in attributes:
                yield _number(attributes[_IFINDEX])

    def read(self, ifindex: int) -> XdpFeature | None:
        """Return a device's features; ``None``: it is gone, or this kernel does not say."""
        if not self._family:
            return None
        answer = self._ask(self._family, _DEV_GET, _IFINDEX, struct.pack("=I", ifindex))
        return XdpFeature(_number(answer[_XDP_FEATURES])) if _XDP_FEATURES in answer else None

    def _join(self) -> int:
        answer = self._ask(_CONTROLLER, _GETFAMILY, _FAMILY_NAME, b"netdev\0")
        if _FAMILY_ID not in answer:
            return 0
        for _, group in _split(answer.get(_GROUPS, b"")):
            attributes = dict(_split(group))
            if attributes.get(_GROUP_NAME) == b"mgmt\0":
                self._news.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _number(attributes[_GROUP_ID]))
        return _number(answer[_FAMILY_ID])

    def _ask(self, family: int, command: int, attribute: int, value: bytes) -> dict[int, bytes]:
        body = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + value + b"\0" * (-len(value) % 4)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), family, _REQUEST, 1, 0, command, 1, 0) + body)
        answer = self._socket.recv(_RECEIVE_BYTES)
        _, kind, *_ = _HEADER.unpack_from(answer)
        return {} if kind == _ERROR else dict(_split(answer[_HEADER.size :]))


def can_transmit(device: Link) -> bool:
    """Say whether XDP may send frames out of a device that has our native program.

    Kernels before 6.3 do not say: then hardware is trusted to. A veth hands frames to its peer: XDP_TX wakes it up only
    if that runs an XDP program, too, and with GRO alone the frames lie there until something else does.
    """
    with NetdevFeatures() as features:
        known = features.read(device.ifindex)
    if known is not None and XdpFeature.TRANSMIT not in known:
        return False
    return (
        peer_runs_xdp(device.ifindex)
        if device.kind == "veth"
        else not (known is None and has_unfinished_checksums(device))
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute."""
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        yield kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + length]
        position += max((length + 3) & ~3, _ATTRIBUTE.size)
