"""Builds what frames cross in a measure: a client, a node and two pods, in namespaces of their own, joined by veths.

Decides links, addresses and which end runs which of the bench's programs. Knows no Service and no contender.

             client (and whoever is behind it: the backend on another node)
      eth0 | .100          eth1 | .100
   uplink0 | .1         uplink1 | .1          uplink1 has a long MTU: no driver's XDP takes it, and tc serves it
                  node
      pod1 |                pod2 |
      eth0 | 10.244.1.11    eth0 | 10.244.1.12, with a native XDP program: takes frames from XDP
         pod-1                 pod-2

All neighbours are permanent: no packet waits for ARP, whoever forwards.
"""

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from ebpflb.bench.namespaces import entered, list_namespaces, run_ip, write_sysctls
from ebpflb.bench.signals import shielded
from ebpflb.errors import EbpflbError

PREFIX: Final = "ebpflb-frames"
UPLINKS: Final = ("uplink0", "uplink1")
CLIENTS: Final = ("192.168.100.100", "192.168.101.100")
"""The client's address at each uplink."""
NODES: Final = ("192.168.100.1", "192.168.101.1")
PODS: Final = ("10.244.1.11", "10.244.1.12")
REMOTE: Final = "10.244.2.11"
"""A pod of another node, behind uplink0."""
_REMOTE_NODE: Final = "192.168.100.2"
_GATEWAY: Final = "169.254.1.1"
_SERVICES: Final = "10.96.0.0/12"
_LONG_MTU: Final = 9000
_numbers = itertools.count(1)


def mac(device: str) -> str:
    """Return the MAC of a device: ``client0``, ``uplink0``, ``pod1``, ``eth1`` (that pod's own end)."""
    names = ("client0", "client1", *UPLINKS, "pod1", "pod2", "eth1", "eth2")
    return f"02:eb:9f:00:01:{names.index(device):02x}"


@dataclass(frozen=True, slots=True)
class Rig:
    """The namespaces of one rig."""

    id: str
    """Also the name of the agent's instance and cgroup there."""
    name: str
    """Of whoever forwards on it."""

    @property
    def client(self) -> str:
        """The client's, which also holds the other node's pod."""
        return f"{self.id}-client"

    @property
    def node(self) -> str:
        """The node's."""
        return f"{self.id}-node"

    def pod(self, number: int) -> str:
        """Return that of a pod, from 1."""
        return f"{self.id}-pod{number}"

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All."""
        return (self.client, self.node, self.pod(1), self.pod(2))

    def run(self, namespace: str, command: Sequence[str], text: str = "") -> str:
        """Run a command to its end, with ``text`` as its input, and return what it printed."""
        done = subprocess.run(
            entered(namespace, None, command), input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise EbpflbError(
                f"bench: `{' '.join(command)}` exited with {done.returncode}: {said}",
                remedy="install iproute2 and ethtool, and run as root",
            )
        return done.stdout


@contextmanager
def built(name: str) -> Iterator[Rig]:
    """Build a rig and remove it again, whatever happens meanwhile."""
    rig = Rig(f"{PREFIX}-{os.getpid()}-{next(_numbers)}", name)
    with ExitStack() as undo:
        undo.callback(_remove, rig)
        _build(rig)
        yield rig


def _remove(rig: Rig) -> None:
    with shielded(signal.SIGINT, signal.SIGTERM):
        run_ip([f"netns del {name}" for name in list_namespaces(f"{rig.id}-")])


def _build(rig: Rig) -> None:
    run_ip([f"netns add {name}" for name in rig.namespaces])
    for namespace in rig.namespaces:
        # Nobody talks IPv6 here; what it would send on its own needs no counting.
        write_sysctls(namespace, [("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")])
    run_ip(_node_lines(rig), rig.node)
    run_ip(list(_client_lines()), rig.client)
    for number in (1, 2):
        run_ip(list(_pod_lines(number)), rig.pod(number))
    write_sysctls(rig.node, _NODE_SYSCTLS)
    for namespace, device, feature, state in _offloads(rig):
        rig.run(namespace, ["ethtool", "-K", device, feature, state])


def _node_lines(rig: Rig) -> list[str]:
    lines = ["link set lo up"]
    for number, uplink in enumerate(UPLINKS):
        mtu = f"mtu {_LONG_MTU}" if number else "mtu 1500"
        peer = f"name eth{number} address {mac(f'client{number}')} {mtu} netns {rig.client}"
        lines.append(f"link add {uplink} address {mac(uplink)} {mtu} type veth peer {peer}")
        lines.append(f"addr add {NODES[number]}/24 dev {uplink}")
        lines.append(f"link set {uplink} up")
        lines.append(f"neigh add {CLIENTS[number]} lladdr {mac(f'client{number}')} dev {uplink} nud permanent")
    lines.append(f"neigh add {_REMOTE_NODE} lladdr {mac('client0')} dev {UPLINKS[0]} nud permanent")
    # A veth's peer is up only later: the route would be refused without onlink.
    lines.append(f"route add {REMOTE}/32 via {_REMOTE_NODE} dev {UPLINKS[0]} onlink")
    for number, address in enumerate(PODS, start=1):
        device = f"pod{number}"
        peer = f"name eth0 address {mac(f'eth{number}')} netns {rig.pod(number)}"
        lines.append(f"link add {device} address {mac(device)} type veth peer {peer}")
        lines.append(f"link set {device} up")
        lines.append(f"route add {address}/32 dev {device} scope link")
        lines.append(f"neigh add {address} lladdr {mac(f'eth{number}')} dev {device} nud permanent")
    return lines


def _client_lines() -> Iterator[str]:
    yield "link set lo up"
    yield f"addr add {REMOTE}/32 dev lo"
    for number, address in enumerate(CLIENTS):
        device = f"eth{number}"
        yield f"addr add {address}/24 dev {device}"
        yield f"link set {device} up"
        yield f"neigh add {NODES[number]} lladdr {mac(UPLINKS[number])} dev {device} nud permanent"
        for network in (_SERVICES, *(f"{pod}/32" for pod in PODS)):
            yield f"route add {network} via {NODES[number]} dev {device} metric {number + 1}"


def _pod_lines(number: int) -> Iterator[str]:
    yield "link set lo up"
    yield f"addr add {PODS[number - 1]}/32 dev eth0"
    yield "link set eth0 up"
    yield f"neigh add {_GATEWAY} lladdr {mac(f'pod{number}')} dev eth0 nud permanent"
    yield f"route add default via {_GATEWAY} dev eth0 onlink"


_NODE_SYSCTLS: Final = [
    ("net/ipv4/ip_forward", "1"),
    # Frames for the backend on another node leave by the device that they came in by.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    *((f"net/ipv4/conf/{uplink}/send_redirects", "0") for uplink in UPLINKS),
    *((f"net/ipv4/conf/{device}/rp_filter", "0") for device in (*UPLINKS, "pod1", "pod2")),
]


def _offloads(rig: Rig) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is switched: a veth takes live frames with GRO on; XDP needs finished checksums of whoever sends."""
    for number, uplink in enumerate(UPLINKS):
        yield rig.node, uplink, "gro", "on"
        yield rig.client, f"eth{number}", "tx", "off"
    for number in (1, 2):
        yield rig.pod(number), "eth0", "tx", "off"
