"""The kinds of network devices that a node may have towards the outside, and how to lay one between two namespaces.

    Kind, namespaces -> laid(kind, ends) -> ``dev0`` in both        a kernel without it -> MissingDeviceError

Both namespaces have ``cable0``, the two ends of one cable, with an address of each family: tunnels go over it.
"""

import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pyroute2 import WireGuard

from ebpflb.bench.process import Running
from ebpflb.core.abi import Family
from tests.netns.host_helpers import inside

CABLE, DEVICE = "cable0", "dev0"
CARRIERS = (("192.0.2.1", "2001:db8:77::1"), ("192.0.2.2", "2001:db8:77::2"))
"""Addresses of the cable's ends."""
_WIREGUARD_PORT = 51820
_UNKNOWN = ("Unknown device type", "Operation not supported")
"""What ``ip`` says of a device that the kernel does not have."""

Ends = tuple[Path, Path]


class MissingDeviceError(Exception):
    """The running kernel has no such device."""


def _nothing(_ends: Ends) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of device."""

    name: str
    lines: tuple[str, ...] = ()
    """For ``ip``, at each end: {own}, {peer}, {own6}, {peer6} are the addresses of the cable's ends."""
    joined: Callable[[Ends], AbstractContextManager[None]] = _nothing
    """What the devices need beside that."""
    families: tuple[Family, ...] = tuple(Family)
    """What they can carry."""
    bare: bool = False
    """Packets have no Ethernet header."""


@contextmanager
def laid(kind: Kind, ends: Ends) -> Iterator[None]:
    """Have ``dev0`` in both namespaces, without addresses, for the length of the block."""
    try:
        for number, end in enumerate(ends):
            (own, own6), (peer, peer6) = CARRIERS[number], CARRIERS[1 - number]
            for line in kind.lines:
                _ip(end, line.format(own=own, own6=own6, peer=peer, peer6=peer6))
        with kind.joined(ends):
            yield
    finally:
        for end in ends:
            for words in (["del", DEVICE], ["set", CABLE, "up"]):
                subprocess.run(["ip", "-n", end.name, "link", *words], capture_output=True, check=False)


def _ip(end: Path, line: str) -> None:
    done = subprocess.run(["ip", "-n", end.name, *line.split()], capture_output=True, text=True, check=False)
    if any(words in done.stderr for words in _UNKNOWN):
        raise MissingDeviceError(line)
    assert done.returncode == 0, f"{line}: {done.stderr}"


@contextmanager
def _pumped(ends: Ends) -> Iterator[None]:
    """Two tun devices, and a process that carries packets from one to the other, as a VPN's would."""
    command = [sys.executable, "-m", "tests.kernels.tun_pump", DEVICE, *map(str, ends)]
    with Running("tun_pump", command) as pump:
        pump.wait_for_line(lambda line: line == "ready", 60.0)
        yield


@contextmanager
def _keyed(ends: Ends) -> Iterator[None]:
    """Make each WireGuard device the other's peer."""
    keys = [X25519PrivateKey.generate() for _ in ends]
    for number, end in enumerate(ends):
        other = 1 - number
        peer = {
            "public_key": _encode(keys[other].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
            "endpoint_addr": CARRIERS[other][0],
            "endpoint_port": _WIREGUARD_PORT,
            "allowed_ips": ["0.0.0.0/0", "::/0"],
        }
        private = keys[number].private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        with inside(end), WireGuard() as control:
            control.set(DEVICE, private_key=_encode(private), listen_port=_WIREGUARD_PORT, peer=peer)
    yield


def _encode(key: bytes) -> str:
    return b64encode(key).decode()


def _over(kind: str, rest: str, *, bare: bool = False, families: tuple[Family, ...] = tuple(Family)) -> Kind:
    """Return a kind of tunnel between the cable's ends."""
    return Kind(kind, (f"link add {DEVICE} type {kind} {rest}",), families=families, bare=bare)


def _on_cable(kind: str, rest: str = "") -> Kind:
    """Return a kind of device that shares the cable."""
    return Kind(kind, (f"link add {DEVICE} link {CABLE} type {kind} {rest}",))


def _with_port(kind: str, rest: str = "") -> Kind:
    """Return a kind of device that takes the cable in."""
    taken = (f"link set {CABLE} down", f"link set {CABLE} master {DEVICE}", f"link set {CABLE} up")
    return Kind(kind, (f"link add {DEVICE} type {kind} {rest}", *taken))


KINDS = (
    Kind("tun", joined=_pumped, bare=True),
    Kind("wireguard", (f"link add {DEVICE} type wireguard",), _keyed, bare=True),
    _over("ipip", "local {own} remote {peer}", bare=True, families=(Family.IPV4,)),
    _over("sit", "local {own} remote {peer}", bare=True, families=(Family.IPV6,)),
    _over("ip6tnl", "mode any local {own6} remote {peer6}", bare=True),
    _over("gre", "local {own} remote {peer}", bare=True),
    _over("vxlan", f"id 7 local {{own}} remote {{peer}} dstport 4789 dev {CABLE}"),
    _over("geneve", "id 7 remote {peer}"),
    _on_cable("vlan", "id 7"),
    _on_cable("macvlan", "mode bridge"),
    _with_port("bridge"),
    _with_port("bond", "mode active-backup miimon 100"),
)
