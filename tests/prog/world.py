"""What stands around the programs under test: addresses by name in both families, and a namespace that routes to them.

    name ("client", "pod", ...) + family -> address          Namespace.entered() -> FIB with next hops for all of them

Nothing here belongs to the machine: devices exist in a namespace without a name, which ends with its descriptor.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from ebpflb.core.abi import Family
from ebpflb.host import syscalls

ADDRESSES: dict[str, tuple[str, str]] = {
    "any": ("0.0.0.0", "::"),
    "client": ("198.51.100.7", "2001:db8:51::7"),
    "client2": ("198.51.100.8", "2001:db8:51::8"),
    "stranger": ("203.0.113.99", "2001:db8:99::99"),
    "node": ("192.0.2.1", "2001:db8:2::1"),
    "cluster": ("10.96.0.10", "fd00:96::10"),
    "external": ("203.0.113.10", "2001:db8:113::10"),
    "balancer": ("203.0.113.20", "2001:db8:113::20"),
    "hairpin": ("169.254.170.1", "fe80::a9fe:aa01"),
    "pod": ("10.1.1.10", "fd00:1:1::10"),
    "pod2": ("10.1.1.11", "fd00:1:1::11"),
    "remote": ("10.1.2.10", "fd00:1:2::10"),
    "remote2": ("10.1.2.11", "fd00:1:2::11"),
    "bare": ("10.1.3.10", "fd00:1:3::10"),
    "narrow": ("10.1.4.10", "fd00:1:4::10"),
    "lost": ("10.9.9.9", "fd00:9::9"),
    "node2": ("192.0.2.2", "2001:db8:2::2"),
    "unused": ("10.96.0.99", "fd00:96::99"),
    "nearby": ("10.97.0.10", "fd00:96:0:1::10"),
}
"""Who is who: ``pod*`` are on this node; ``stranger`` and ``lost`` have no route; ``bare`` lies behind a device without
SNAT address, ``narrow`` behind one with a small MTU; ``unused`` is in the ServiceCIDR of ``cluster``, ``nearby`` next
to it. Documentation prefixes where the network is public."""


class Device(IntEnum):
    """Interface indexes, chosen by us."""

    UPLINK = 101
    POD = 102
    POD2 = 103
    BARE = 104
    NARROW = 105


NARROW_MTU = 1280
"""The least that IPv6 allows."""

GATEWAYS = {Family.IPV4: "192.0.101.254", Family.IPV6: "2001:db8:101::254"}
"""Beyond the uplink."""
_GATEWAYS = {Device.UPLINK: "254", Device.BARE: "253", Device.NARROW: "252"}
"""Last part of each gateway's address; the networks are 192.0.<ifindex>.0/24 and 2001:db8:<ifindex>::/64."""
NODE_MAC = "02:00:00:00:00:02"
"""Of every device here: a frame to anybody else is another host's."""
GATEWAY_MAC = "02:00:00:00:00:fe"
_PEER_OFFSET = 100


def address(name: str, family: Family) -> str:
    """Return the address of a name, as text."""
    return ADDRESSES[name][family is Family.IPV6]


@cache
def packed(name: str, family: Family) -> bytes:
    """Return the address of a name in network byte order."""
    return ip_address(address(name, family)).packed


class Namespace:
    """A network namespace with the devices and routes that the tests' addresses need."""

    def __init__(self) -> None:
        with ThreadPoolExecutor(max_workers=1) as thread:  # only a thread that ends may change its namespace for good
            self._fd = thread.submit(_make).result()
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """End the namespace, devices included."""
        os.close(self._home)
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def mac(self, device: Device) -> bytes:
        """Return the MAC address of a device."""
        with self.entered():
            text = subprocess.run(
                ["ip", "-o", "link", "show", "dev", device.name.lower()], check=True, capture_output=True, text=True
            ).stdout
        return bytes.fromhex(text.split("link/ether ")[1].split()[0].replace(":", ""))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread inside, for the shortest time: nothing else should see another network."""
        syscalls.setns(self._fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(self._home, syscalls.CLONE_NEWNET)

    def configure(self, lines: Iterable[str]) -> None:
        """Run lines of ``ip -batch`` inside."""
        with self.entered():
            _run_batch(lines)


def _make() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(syscalls.CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare a network namespace")
    for family in ("ipv4", "ipv6"):
        Path(f"/proc/sys/net/{family}/conf/all/forwarding").write_text("1")
    _run_batch([*_links(), *_routes()])
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _run_batch(lines: Iterable[str]) -> None:
    batch = "".join(f"{line}\n" for line in lines)
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True, capture_output=True)


def _links() -> Iterator[str]:
    for device in Device:
        name, peer = device.name.lower(), f"{device.name.lower()}-peer"
        peer_index = device + _PEER_OFFSET
        yield f"link add {name} index {device} address {NODE_MAC} type veth peer name {peer} index {peer_index}"
        yield f"link set {name} up addrgenmode none"
        yield f"link set {peer} up addrgenmode none"
    yield f"link set narrow mtu {NARROW_MTU}"


def _routes() -> Iterator[str]:
    for device, last in _GATEWAYS.items():
        name = device.name.lower()
        for own, gateway in ((f"192.0.{device}.1/24", f"192.0.{device}.{last}"), _ipv6(device, last)):
            yield f"address add {own} dev {name} nodad" if ":" in own else f"address add {own} dev {name}"
            yield f"neighbour add {gateway} lladdr {GATEWAY_MAC} dev {name} nud permanent"
    for family in Family:
        for device, names in (
            (Device.UPLINK, ("client", "client2", "remote", "remote2")),
            (Device.BARE, ("bare",)),
            (Device.NARROW, ("narrow",)),
        ):
            last = _GATEWAYS[device]
            gateway = f"192.0.{device}.{last}" if family is Family.IPV4 else f"2001:db8:{device}::{last}"
            for name in names:
                yield f"route add {address(name, family)} via {gateway} dev {device.name.lower()}"
        yield f"route add {address('pod', family)} dev pod"
        yield f"route add {address('pod2', family)} dev pod2"


def _ipv6(device: Device, last: str) -> tuple[str, str]:
    return f"2001:db8:{device}::1/64", f"2001:db8:{device}::{last}"
