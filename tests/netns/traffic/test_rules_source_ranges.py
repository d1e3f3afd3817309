"""loadBalancerSourceRanges: who is in a range uses the load-balancer IPs, others hear nothing; nothing else asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ebpflb.bench.addresses import PLANS
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.core.abi import Counter, Family
from tests.netns.services import Spec
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.world import CLIENTS, DETECTOR, World, until

pytestmark = pytest.mark.root

KINDS = ("tcp", "udp")
OTHERS = ("ClusterIP", "external IP", "NodePort of node-1")
INSIDERS = ("covered", "uncovered", "host", "hostNetwork", "uncovered host")
NOBODYS = {Family.IPV4: "192.0.2.0/24", Family.IPV6: "2001:db8:dead::/64"}


@pytest.fixture(scope="module", autouse=True)
def _configured(rules_world: World) -> None:
    rules_world.configure(*DETECTOR)


def ranged(world: World, *ranges: str) -> Spec:
    return Spec("ranged", 61, (world.local, world.remote[0]), source_ranges=ranges)


def admitted(family: Family) -> str:
    """Return the range of the client's first further address alone; the others are its neighbours."""
    return str(ip_network(CLIENTS[family][0]))


def assert_dropped(world: World, caller: str, kind: str, dialled: str, source: str = "") -> None:
    """Call once, in vain; and that is counted."""
    before = world.counters(1)[Counter.DROP_SOURCE_RANGE]
    (outcome,) = world.caller(caller).ask(kind, dialled, source=source, timeout=SILENCE)
    assert outcome.error == "timeout"
    assert world.counters(1)[Counter.DROP_SOURCE_RANGE] > before


def assert_served(world: World, caller: str, kind: str, dialled: str, source: str = "") -> None:
    """Call once, and be answered; nothing is counted."""
    before = world.counters(1)[Counter.DROP_SOURCE_RANGE]
    (outcome,) = world.caller(caller).ask(kind, dialled, source=source)
    assert outcome.error == ""
    assert world.counters(1)[Counter.DROP_SOURCE_RANGE] == before


@pytest.mark.parametrize("kind", KINDS)
def test_outside_clients_are_told_apart_by_address(rules: World, kind: str) -> None:
    inside, beside = CLIENTS[rules.family][:2]
    with rules.service(ranged(rules, *(admitted(family) for family in DUAL_STACK))) as spec:
        dialled = rules.target(spec, "balancer IP", kind)
        assert_served(rules, "outside", kind, dialled, inside)
        assert_dropped(rules, "outside", kind, dialled, beside)
        for other in OTHERS:
            assert_served(rules, "outside", kind, rules.target(spec, other, kind), beside)


@pytest.mark.parametrize("caller", INSIDERS)
def test_pods_and_the_node_are_asked_too(rules: World, caller: str) -> None:
    kind = "tcp" if rules.family is Family.IPV4 else "udp"
    own = str(ip_network(rules.address(rules.place(caller))))
    with rules.service(ranged(rules, own)) as spec:
        dialled = rules.target(spec, "balancer IP", kind)
        assert_served(rules, caller, kind, dialled)
        rules.put(ranged(rules, NOBODYS[rules.family]))
        rules.forget_datagrams()  # who is in stays in, and the next socket may get the same port
        assert_dropped(rules, caller, kind, dialled)
        for other in OTHERS[:2]:
            assert_served(rules, caller, kind, rules.target(spec, other, kind))


def test_ranges_of_one_family_leave_the_other_open(rules: World) -> None:
    other = Family.IPV6 if rules.family is Family.IPV4 else Family.IPV4
    with rules.service(ranged(rules, NOBODYS[other])) as spec:
        for caller in ("outside", "covered", "uncovered"):
            assert_served(rules, caller, "tcp", rules.target(spec, "balancer IP", "tcp"))
            dialled = rules.speaking(other).target(spec, "balancer IP", "tcp")
            assert_dropped(rules.speaking(other), caller, "tcp", dialled)


def test_who_is_kept_out_is_not_told_that_nobody_is_in(rules: World) -> None:
    """As in nftables mode, where ranges come before everything."""
    with rules.service(replace(ranged(rules, admitted(rules.family)), backends=())) as spec:
        dialled = rules.target(spec, "balancer IP", "tcp")
        inside, beside = CLIENTS[rules.family][:2]
        assert_dropped(rules, "outside", "tcp", dialled, beside)
        (outcome,) = rules.caller("outside").ask("tcp", dialled, source=inside)
        assert outcome.error == "ECONNREFUSED"


def test_ranges_that_go_let_everybody_in(rules: World) -> None:
    spec = ranged(rules, NOBODYS[rules.family])
    with rules.service(spec):
        dialled = rules.target(spec, "balancer IP", "tcp")
        assert_dropped(rules, "outside", "tcp", dialled)
        rules.put(replace(spec, source_ranges=()))
        assert_served(rules, "outside", "tcp", dialled)


@contextmanager
def at_home(world: World, address: str) -> Iterator[None]:
    """Give node-1 the address of a load balancer, as some load balancers want it."""
    bits = PLANS[world.family].host_prefix
    node = world.lab.node(1)
    node.run(["ip", "address", "add", f"{address}/{bits}", "dev", "other0"])
    try:
        yield
    finally:
        node.run(["ip", "address", "del", f"{address}/{bits}", "dev", "other0"])
        until(lambda: not world.knows_own(address), "the node never forgets its address")


@pytest.mark.parametrize("caller", ["host", "hostNetwork"])
def test_a_node_in_a_range_may_use_an_address_that_it_has_itself(rules: World, caller: str) -> None:
    """What it sends there has that very address as its source, and never leaves the node."""
    own = str(ip_network(rules.address(rules.lab.node(1))))
    with rules.service(ranged(rules, own)) as spec, at_home(rules, spec.balancer_ip(rules.family)):
        dialled = rules.target(spec, "balancer IP", "tcp")

        def is_served() -> bool:
            (outcome,) = rules.caller(caller).ask("tcp", dialled, timeout=SILENCE)
            return outcome.error == ""

        until(is_served, "the node never learns of its address")
        rules.put(ranged(rules, NOBODYS[rules.family]))
        assert not is_served()
