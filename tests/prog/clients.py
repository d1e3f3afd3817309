"""Clients, and where the packets of each are met; and the nodes that tell them apart in different ways.

Client, what it dials --met--> the backends that it is given, and how they see it
"""

from dataclasses import dataclass

from ebpflb.core.abi import DeviceFlag, FlowFlag, FrontendKind
from tests.prog.harness import NODES_OWN, Hook, Verdict
from tests.prog.lab import Lab
from tests.prog.services import BACKEND_IDS, Node
from tests.prog.wire import Wire
from tests.prog.world import Device, packed

PORTS = range(10_000, 10_020)
EXTERNAL = {
    FrontendKind.NODE_PORT: ("any:30080", "node:30080"),
    FrontendKind.LOAD_BALANCER: ("balancer:80", "balancer:80"),
    FrontendKind.EXTERNAL_IP: ("external:80", "external:80"),
}
"""Frontend, and what clients dial."""
CLUSTER = FrontendKind.CLUSTER_IP, "cluster:80", "cluster:80"
POD_DEVICES = dict.fromkeys((Device.POD, Device.POD2), DeviceFlag.PODS | DeviceFlag.POD_SOURCE)
DEVICES = dict.fromkeys((Device.UPLINK, Device.POD, Device.POD2), "node")
NONE = Node(pods=None, device_flags=POD_DEVICES)
NODE_CIDR = Node(pods=("pod", 24), device_flags=POD_DEVICES)
CLUSTER_CIDR = Node(pods=("pod", 8), device_flags=POD_DEVICES)
BY_DEVICE = Node(detects_by_device=True, device_flags=POD_DEVICES)
DETECTORS = {"no detector": NONE, "by NodeCIDR": NODE_CIDR, "by ClusterCIDR": CLUSTER_CIDR, "by device": BY_DEVICE}


@dataclass(frozen=True, slots=True)
class Client:
    """Who connects, and where its packets are met."""

    name: str
    hook: Hook
    device: Device = Device.UPLINK
    came_in_by: int = Device.UPLINK


OUTSIDE = Client("client", Hook.UPLINK_IN)
OWN_POD = Client("pod", Hook.POD_IN, Device.POD, Device.POD)
OTHER_POD = Client("remote2", Hook.UPLINK_IN)
OWN = Client("node", Hook.OUT, came_in_by=NODES_OWN)


def first_packet(lab: Lab, client: Client, port: int, dialled: str) -> Verdict:
    """Send a client's first packet from a port."""
    frame = lab.frame(Wire(f"{client.name}:{port}", dialled))
    return lab.datapath.run(client.hook, frame, client.device, came_in_by=client.came_in_by).verdict


def met(lab: Lab, client: Client, dialled: str) -> set[tuple[str, str]]:
    """Connect many times; return the backends that were met, and how each saw the client."""
    names = {number: name for name, number in BACKEND_IDS.items()}
    sources = {packed(name, lab.family): name for name in ("node", "hairpin")} | {
        packed(client.name, lab.family): "kept"
    }
    for port in PORTS:
        first_packet(lab, client, port, dialled)
    requests = [flow for flow in lab.datapath.flows().values() if not flow.flags & FlowFlag.REPLY]
    assert len(requests) == len(PORTS)
    return {(names[flow.backend_id], sources[flow.to_saddr]) for flow in requests}
