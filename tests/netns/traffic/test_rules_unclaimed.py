"""What no Service has: other ports of a ClusterIP are refused at once, unused addresses of a ServiceCIDR dropped.

The client is node-1's default router here, and sends whatever is a Service's address back to node-1: a packet to an
address that nobody has would go round until its TTL runs out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ebpflb.bench.addresses import PLANS, join_port
from ebpflb.bench.namespaces import write_sysctls
from ebpflb.bench.plan import DUAL_STACK, UPLINK
from ebpflb.core.abi import Counter, Family
from tests.kube.objects import make_service_cidr
from tests.netns.services import CLUSTER_NETWORKS, Spec, host_in
from tests.netns.traffic.capture import Captured, captured
from tests.netns.traffic.rules import AT_ONCE, SILENCE
from tests.netns.traffic.world import DETECTOR, World, until

pytestmark = pytest.mark.root

CLOSED_PORT = 9
CALLERS = ("covered", "uncovered", "host", "hostNetwork", "uncovered host", "outside", "neighbour")
UNSEEN = ("uncovered", "uncovered host", "outside", "neighbour")
"""Whose calls the packet hooks answer."""
TRIES = 5
"""A stall of the machine slows one attempt down, a lost refusal each of them."""
UNUSED = 200
"""Host number of an address in the network of the ClusterIPs that no Service has."""
LOOPS = 10
"""Far fewer passages than a TTL of 64 allows, far more than a packet needs that is not sent round."""
TIME_EXCEEDED = {Family.IPV4: (1, 11), Family.IPV6: (58, 3)}
"""ICMP's protocol number and type."""


@pytest.fixture(scope="module", autouse=True)
def _round_trips(rules_world: World) -> Iterator[None]:
    """Let the client forward; after the module it does not."""
    rules_world.configure(*DETECTOR)
    switches = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
    write_sysctls(rules_world.lab.client.netns, [(switch, "1") for switch in switches])
    yield
    write_sysctls(rules_world.lab.client.netns, [(switch, "0") for switch in switches])


@contextmanager
def service_cidrs(world: World) -> Iterator[None]:
    """Have a ServiceCIDR of both families for the length of the block."""
    cidr = make_service_cidr("kubernetes", *(PLANS[family].services for family in DUAL_STACK))
    world.settle(lambda: world.manifests.write("cidrs", [cidr]))
    try:
        yield
    finally:
        world.settle((world.manifests.folder / "cidrs.yaml").unlink)


@pytest.mark.parametrize("kind", ["tcp", "udp-connected"])
@pytest.mark.parametrize("caller", CALLERS)
def test_another_port_of_a_cluster_ip_is_refused_at_once(rules: World, caller: str, kind: str) -> None:
    dialled = join_port(rules.specs["local"].cluster_ip(rules.family), CLOSED_PORT)
    before = rules.counters(1)
    outcomes = rules.caller(caller).ask(kind, dialled, count=TRIES)
    assert {outcome.error for outcome in outcomes} == {"ECONNREFUSED"}
    assert min(outcome.seconds for outcome in outcomes) < AT_ONCE
    counter = Counter.REJECTED_PORT if caller in UNSEEN else Counter.SOCK_REJECTED
    assert rules.counters(1)[counter] >= before[counter] + TRIES


@pytest.mark.parametrize(("kind", "offered"), [("tcp", "udp"), ("udp-connected", "tcp")])
@pytest.mark.parametrize("caller", CALLERS)
def test_a_port_is_one_protocols(rules: World, caller: str, kind: str, offered: str) -> None:
    (outcome,) = rules.caller(caller).ask(kind, rules.target(rules.specs["local"], "ClusterIP", offered))
    assert outcome.error == "ECONNREFUSED"


@pytest.mark.parametrize("caller", UNSEEN)
@pytest.mark.parametrize("address", ["external IP", "balancer IP"])
def test_another_port_of_an_external_address_is_left_alone(rules: World, address: str, caller: str) -> None:
    """Such an address may be somebody's who has more to offer there than a Service."""
    number = rules.specs["local"].number
    listening = rules.target(rules.specs["local"], address, "tcp").rpartition(":")[0].strip("[]")
    before = rules.counters(1)
    with captured(rules.lab.node(1), UPLINK) as packets:
        (outcome,) = rules.caller(caller).ask("udp", join_port(listening, 9000 + number), timeout=SILENCE)
        assert outcome.error == "timeout"
        until(lambda: ttls(packets, listening) != [], "no packet came to that address")
    after = rules.counters(1)
    for counter in (Counter.REJECTED, Counter.REJECTED_PORT, Counter.DROP_UNUSED_ADDRESS):
        assert after[counter] == before[counter]


def ttls(packets: Captured, address: str) -> list[int]:
    """Return the TTL of each packet to an address that has passed by now: what goes round has less each time."""
    packets.look()
    return [packet.ttl for packet in packets if packet.destination == address]


def has_expired(world: World, packets: Captured) -> bool:
    """Say whether a TTL has run out by now, and its sender was told."""
    packets.look()
    return TIME_EXCEEDED[world.family] in {(packet.protocol, packet.first_byte) for packet in packets}


def call_unused(world: World, caller: str, kind: str = "udp") -> str:
    """Call an unused address, in vain; return it."""
    unused = host_in(CLUSTER_NETWORKS[world.family], UNUSED)
    (outcome,) = world.caller(caller).ask(kind, join_port(unused, CLOSED_PORT), timeout=SILENCE)
    assert outcome.error in {"timeout", "EHOSTUNREACH"}
    return unused


def test_without_service_cidrs_an_unused_address_goes_round(rules: World) -> None:
    """What the next test would not see if the lab did not do it: kube-proxy leaves such packets alone, too."""
    with captured(rules.lab.node(1), UPLINK) as packets:
        unused = call_unused(rules, "neighbour")
        until(lambda: has_expired(rules, packets), "no TTL runs out")
        assert len(set(ttls(packets, unused))) > LOOPS


@pytest.fixture(scope="module")
def _known_cidrs(rules_world: World) -> Iterator[None]:
    with service_cidrs(rules_world):
        yield


@pytest.mark.usefixtures("_known_cidrs")
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("caller", CALLERS)
def test_an_unused_address_is_dropped_and_counted(rules: World, caller: str, kind: str) -> None:
    before = rules.counters(1)[Counter.DROP_UNUSED_ADDRESS]
    with captured(rules.lab.node(1), UPLINK) as packets:
        unused = call_unused(rules, caller, kind)
        until(lambda: rules.counters(1)[Counter.DROP_UNUSED_ADDRESS] > before, "it is not counted")
        passed = ttls(packets, unused)
        # From outside it comes in, as often as TCP repeats it; where the node sends it itself it never leaves.
        assert len(set(passed) if kind == "tcp" else passed) == (1 if caller in {"outside", "neighbour"} else 0)
        assert not has_expired(rules, packets)


@pytest.mark.usefixtures("_known_cidrs")
@pytest.mark.parametrize("caller", ["covered", "uncovered", "outside"])
def test_an_address_that_a_service_gets_serves_and_is_unused_after(rules: World, caller: str) -> None:
    spec = Spec("unused", UNUSED, (rules.local,))
    dialled = rules.target(spec, "ClusterIP", "tcp")
    call = rules.caller(caller)
    assert call.ask("tcp", dialled, timeout=SILENCE)[0].error == "timeout"
    with rules.service(spec):
        assert call.ask("tcp", dialled)[0].backend == rules.local.name
        rules.put(replace(spec, backends=()))
        assert call.ask("tcp", dialled)[0].error == "ECONNREFUSED"
    assert call.ask("tcp", dialled, timeout=SILENCE)[0].error == "timeout"


@pytest.mark.usefixtures("_known_cidrs")
@pytest.mark.parametrize("caller", ["covered", "uncovered", "host", "outside"])
def test_other_traffic_passes_as_ever(rules: World, caller: str) -> None:
    """To nodes, and where the caller has a way to them to pods."""
    pods = [] if caller == "outside" else [rules.remote[0], rules.local]
    for address in (rules.address(place) for place in pods):
        (outcome,) = rules.caller(caller).ask("tcp", join_port(address, 8080))
        assert outcome.error == ""
    (outcome,) = rules.caller(caller).ask("tcp", join_port(rules.address(rules.lab.node(2)), CLOSED_PORT))
    assert outcome.error == "ECONNREFUSED"
