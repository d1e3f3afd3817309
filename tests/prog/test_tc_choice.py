"""Which backend a new flow gets: traffic policy, Maglev, random choice, ClientIP affinity."""

import pytest

from ebpflb.core.abi import Algorithm, Counter, FrontendKind
from tests.prog.harness import Hook
from tests.prog.lab import Lab, drops
from tests.prog.services import Service
from tests.prog.wire import Wire

pytestmark = pytest.mark.root

UPLINK, POD = Hook.UPLINK_IN, Hook.POD_IN
MASK = 0xFFFFFFFF
FOUR = ("pod", "pod2", "remote", "remote2")
TIMEOUT_S = 100
KINDS = (FrontendKind.NODE_PORT, FrontendKind.EXTERNAL_IP, FrontendKind.LOAD_BALANCER)


def from_ports(count: int, client: str = "client", first: int = 10_000) -> list[Wire]:
    return [Wire(f"{client}:{port}", "cluster:80") for port in range(first, first + count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_policy_keeps_traffic_from_outside_on_this_node(lab: Lab, kind: FrontendKind) -> None:
    lab.load(Service("cluster:80", FOUR, kind, local_policy=True))
    assert lab.spread(UPLINK, from_ports(60)).keys() == {"pod", "pod2"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_policy_of_an_outer_frontend_does_not_bind_pods(lab: Lab, kind: FrontendKind) -> None:
    lab.load(Service("cluster:80", FOUR, kind, local_policy=True))
    assert lab.spread(POD, from_ports(60, "pod2")).keys() == set(FOUR)


@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_an_internal_local_policy_binds_everybody(lab: Lab, hook: Hook) -> None:
    lab.load(Service("cluster:80", FOUR, FrontendKind.CLUSTER_IP, local_policy=True))
    assert lab.spread(hook, from_ports(60)).keys() == {"pod", "pod2"}


@pytest.mark.parametrize(
    ("kind", "hook"), [(FrontendKind.CLUSTER_IP, UPLINK), (FrontendKind.CLUSTER_IP, POD), *((k, UPLINK) for k in KINDS)]
)
def test_a_local_policy_without_a_local_backend_drops(lab: Lab, kind: FrontendKind, hook: Hook) -> None:
    lab.load(Service("cluster:80", ("remote",), kind, local_policy=True))
    lab.play(drops(hook, Wire("client:4000", "cluster:80"), Counter.DROP_NO_LOCAL_BACKEND))
    assert lab.datapath.flows() == {}


def client_hash(lab: Lab, packet: Wire, *, with_port: bool) -> int:
    """The hash of bpf/lb/base.h over what bpf/lb/translate.h feeds it, once more."""
    (saddr, sport), (_daddr, dport) = lab.endpoint(packet.src), lab.endpoint(packet.dst)
    words = [int.from_bytes(dport.to_bytes(2, "big"), "little")]
    words += [int.from_bytes(saddr[i : i + 4], "little") for i in range(0, len(saddr), 4)]
    words += [int.from_bytes(sport.to_bytes(2, "big"), "little")] if with_port else []
    value: int = lab.protocol
    for word in words:
        value = (value + word) & MASK
        value = (value + (value << 10)) & MASK
        value ^= value >> 6
    value = (value + (value << 3)) & MASK
    value ^= value >> 11
    return (value + (value << 15)) & MASK


MAGLEV = Service("cluster:80", FOUR * 63, FrontendKind.CLUSTER_IP)


def slot_order(service: Service) -> list[str]:
    return sorted(service.backends, key=lambda name: name not in {"pod", "pod2"})


def test_maglev_takes_the_slot_that_the_clients_hash_names(lab: Lab) -> None:
    """The same on every node: only the client, the frontend's port and the protocol go into it."""
    lab.load(MAGLEV)
    slots = slot_order(MAGLEV)
    for packet in [*from_ports(20), *from_ports(20, "client2"), Wire("stranger:1", "cluster:80")]:
        expected = slots[client_hash(lab, packet, with_port=True) % len(slots)]
        assert lab.chosen(UPLINK, packet) == expected


def test_maglev_is_steady_for_a_client_and_spreads_its_ports(lab: Lab) -> None:
    lab.load(MAGLEV)
    first = lab.spread(UPLINK, from_ports(400))
    lab.datapath.clear()
    assert lab.spread(UPLINK, from_ports(400)) == first
    assert first.keys() == set(FOUR)
    assert min(first.values()) > 60


def test_maglev_leaves_the_port_out_where_affinity_keeps_a_client(lab: Lab) -> None:
    service = Service(MAGLEV.frontend, MAGLEV.backends, MAGLEV.kind, affinity_s=TIMEOUT_S)
    lab.load(service)
    slots = slot_order(service)
    for client in ("client", "client2", "stranger", "pod"):
        packet = Wire(f"{client}:4000", "cluster:80")
        assert lab.chosen(UPLINK, packet) == slots[client_hash(lab, packet, with_port=False) % len(slots)]


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_slot_is_reachable(udp: Lab, algorithm: Algorithm) -> None:
    """Seventeen slots lie on two lines of the map, behind another service's slots."""
    names = [*FOUR, "bare", "narrow", "lost", "external", "balancer", "cluster", "hairpin", "node", "stranger"]
    names += ["client", "client2", "any"]
    other = Service("external:80", ("pod",) * 9, FrontendKind.EXTERNAL_IP, id=2)
    every = Service("cluster:80", tuple(names), FrontendKind.CLUSTER_IP, algorithm=algorithm)
    udp.load(other, every)
    assert udp.spread(POD, from_ports(400, "pod")).keys() == set(names)


def test_random_choice_spreads_evenly(lab: Lab) -> None:
    lab.load(Service("cluster:80", FOUR, FrontendKind.CLUSTER_IP, algorithm=Algorithm.RANDOM))
    shares = lab.spread(UPLINK, from_ports(400))
    assert shares.keys() == set(FOUR)
    assert min(shares.values()) > 100 - 6 * 8.7  # six standard deviations


def test_random_choice_does_not_depend_on_the_client(lab: Lab) -> None:
    lab.load(Service("cluster:80", FOUR, FrontendKind.CLUSTER_IP, algorithm=Algorithm.RANDOM))
    found = set()
    for _attempt in range(100):
        lab.datapath.clear()
        found.add(lab.chosen(UPLINK, Wire("client:4000", "cluster:80")))
    assert found == set(FOUR)
