"""What the node's configuration asks of every Service: who counts as a pod, who is hidden from backends, and what
becomes of packets to ClusterIPs that no frontend has.

    Work, Frontend --origin_of, is_local_only, is_hidden--> the table of semantics.md 1.5
    Work --unclaimed--> the rules of semantics.md 1.8
"""

from typing import NamedTuple

from ebpflb.core.abi import Counter, DeviceFlag, FrontendFlag, FrontendKind
from tests.fuzz.decision import Act, Decision, Work
from tests.fuzz.headers import Kind
from tests.fuzz.rows import Detector, Frontend, Hook, lies_in

_LOCAL_POLICY, _CLUSTER_ADDRESS = int(FrontendFlag.LOCAL_POLICY), int(FrontendFlag.CLUSTER_ADDRESS)


class Origin(NamedTuple):
    """Who the client is."""

    is_pod: bool
    is_node: bool


def origin_of(work: Work) -> Origin:
    """Return who sent the packet. What the node sends came in by no device."""
    world, is_node = work.world, work.hook is Hook.OUT
    detector = world.config.detector
    if detector is Detector.NETWORK:
        return Origin(lies_in(work.packet.ends[: world.family.address_bytes], world.config.pods), is_node)
    if detector is Detector.DEVICE and not is_node:
        device = world.devices.get(work.device)
        return Origin(device is not None and bool(device.flags & DeviceFlag.POD_SOURCE), is_node)
    return Origin(is_pod=False, is_node=is_node)


def is_local_only(frontend: Frontend, origin: Origin) -> bool:
    """The internal policy binds everybody, the external one clients outside."""
    if frontend.kind is not FrontendKind.CLUSTER_IP and (origin.is_pod or origin.is_node):
        return False
    return bool(frontend.flags & _LOCAL_POLICY)


def is_hidden(work: Work, frontend: Frontend, origin: Origin) -> bool:
    """Say whether the backend sees the node's address instead of the client's."""
    config = work.world.config
    if frontend.kind is FrontendKind.CLUSTER_IP:
        return config.masquerade_all or (config.detector is not Detector.NONE and not origin.is_pod)
    if frontend.flags & _LOCAL_POLICY:
        return not origin.is_pod and origin.is_node
    return True


def unclaimed(work: Work) -> Decision | None:
    """Decide about a packet that no frontend has, if it is for an address that only ClusterIPs can have."""
    world, packet = work.world, work.packet
    address = packet.ends[world.family.address_bytes : 2 * world.family.address_bytes]
    if not lies_in(address, world.config.guard):
        return None
    row = world.frontends.get((address, 0, 0))
    if row is None:
        if address not in world.node_addrs and any(lies_in(address, cidr) for cidr in world.service_cidrs):
            return Decision(Act.DROP, work, reason=Counter.DROP_UNUSED_ADDRESS)
        return None
    is_question = packet.kind in {Kind.WHOLE, Kind.FIRST_FRAGMENT} and not packet.resets
    if not row.flags & _CLUSTER_ADDRESS or not is_question:
        return None
    if work.hook is not Hook.XDP_IN:  # who answers counts
        work.counts.append(Counter.REJECTED_PORT)
    return Decision(Act.REJECT, work)
