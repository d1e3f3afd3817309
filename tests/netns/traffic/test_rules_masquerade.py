"""Whose address a backend sees and which backends are asked, under every detector: the table of docs/semantics.md."""

from typing import NamedTuple

import pytest

from ebpflb.bench.addresses import node_address
from ebpflb.core.abi import Counter
from tests.netns.traffic.callers import ANSWER_SECONDS
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.sources import forwarding_address
from tests.netns.traffic.world import DETECTOR, World

pytestmark = pytest.mark.root

KINDS = ("tcp", "udp")
EXTERNAL = ("external IP", "balancer IP", "NodePort of node-1")


class Setting(NamedTuple):
    """How an agent is configured, and what follows for callers that no socket hook sees."""

    flags: tuple[str, ...]
    pods: frozenset[str]
    """Whom the detector takes for a pod."""
    hidden_from_cluster_ips: frozenset[str]
    """Whose address backends of a ClusterIP do not see."""


OUTSIDE, POD, NEIGHBOUR = "outside", "uncovered", "neighbour"
"""A client outside, a pod of the node, a pod of another node whose packets come unmasqueraded."""
CALLERS = (OUTSIDE, POD, NEIGHBOUR)
SETTINGS = {
    "no detector": Setting((), frozenset(), frozenset()),
    "ClusterCIDR": Setting(DETECTOR, frozenset({POD, NEIGHBOUR}), frozenset({OUTSIDE})),
    "NodeCIDR": Setting(("--detect-local-mode", "NodeCIDR"), frozenset({POD}), frozenset({OUTSIDE, NEIGHBOUR})),
    "BridgeInterface": Setting(
        ("--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "cni0"),
        frozenset({POD}),
        frozenset({OUTSIDE, NEIGHBOUR}),
    ),
    "InterfaceNamePrefix": Setting(
        ("--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "cni"),
        frozenset({POD}),
        frozenset({OUTSIDE, NEIGHBOUR}),
    ),
    "masquerade-all": Setting(("--masquerade-all=true",), frozenset(), frozenset(CALLERS)),
    "ClusterCIDR and masquerade-all": Setting(
        (*DETECTOR, "--masquerade-all=true"), frozenset({POD, NEIGHBOUR}), frozenset(CALLERS)
    ),
}


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest, rules_world: World) -> Setting:
    """Configure node-1's agent."""
    chosen = SETTINGS[request.param]
    rules_world.configure(*chosen.flags)
    return chosen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("service", ["local", "internal-local"])
def test_a_cluster_ip(rules: World, setting: Setting, service: str, caller: str, kind: str) -> None:
    """Whatever the internal policy; and that keeps every caller on the node."""
    is_hidden = caller in setting.hidden_from_cluster_ips
    expected = forwarding_address(rules, 1, rules.local) if is_hidden else rules.address(rules.place(caller))
    (outcome,) = rules.caller(caller).ask(kind, rules.target(rules.specs[service], "ClusterIP", kind))
    assert (outcome.error, outcome.backend, outcome.seen_as) == ("", rules.local.name, expected)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("destination", EXTERNAL)
@pytest.mark.parametrize("service", ["local", "remote"])
@pytest.mark.usefixtures("setting")
def test_external_policy_cluster_hides_everybody(rules: World, service: str, destination: str, caller: str) -> None:
    spec = rules.specs[service]
    (outcome,) = rules.caller(caller).ask("tcp", rules.target(spec, destination, "tcp"))
    expected = forwarding_address(rules, 1, spec.backends[0])
    assert (outcome.error, outcome.backend, outcome.seen_as) == ("", spec.backends[0].name, expected)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("destination", EXTERNAL)
@pytest.mark.usefixtures("setting")
def test_external_policy_local_hides_nobody(rules: World, destination: str, caller: str) -> None:
    (outcome,) = rules.caller(caller).ask("tcp", rules.target(rules.specs["local-here"], destination, "tcp"))
    expected = rules.address(rules.place(caller))
    assert (outcome.error, outcome.backend, outcome.seen_as) == ("", rules.local.name, expected)


@pytest.mark.parametrize("caller", [OUTSIDE, POD])
@pytest.mark.parametrize("destination", EXTERNAL)
def test_external_policy_local_does_not_bind_pods(
    rules: World, setting: Setting, destination: str, caller: str
) -> None:
    spec = rules.specs["external-local"]
    wanted = {pod.name for pod in spec.backends} if caller in setting.pods else {rules.local.name}
    outcomes = rules.caller(caller).ask_each("tcp", rules.target(spec, destination, "tcp"), wanted)
    assert {outcome.error for outcome in outcomes} == {""}
    assert {outcome.backend for outcome in outcomes} == wanted
    assert {outcome.seen_as for outcome in outcomes} == {rules.address(rules.place(caller))}


@pytest.mark.parametrize("caller", [OUTSIDE, POD])
def test_external_policy_local_drops_who_is_no_pod_where_no_backend_is(
    rules: World, setting: Setting, caller: str
) -> None:
    spec = rules.specs["local-elsewhere"]
    is_pod = caller in setting.pods
    patience = ANSWER_SECONDS if is_pod else SILENCE
    before = rules.counters(1)[Counter.DROP_NO_LOCAL_BACKEND]
    (outcome,) = rules.caller(caller).ask("tcp", rules.target(spec, "balancer IP", "tcp"), timeout=patience)
    assert outcome.error == ("" if is_pod else "timeout")
    assert (rules.counters(1)[Counter.DROP_NO_LOCAL_BACKEND] == before) == is_pod


@pytest.mark.parametrize("caller", ["covered", "host", "hostNetwork"])
@pytest.mark.parametrize("destination", ["ClusterIP", "NodePort of node-1"])
@pytest.mark.parametrize("service", ["local", "remote"])
@pytest.mark.usefixtures("setting")
def test_sockets_are_never_masqueraded(rules: World, service: str, destination: str, caller: str) -> None:
    """The packets of a covered socket name the backend from the start: what a node sends has its own address."""
    (pod,) = rules.specs[service].backends
    (outcome,) = rules.caller(caller).ask("tcp", rules.target(rules.specs[service], destination, "tcp"))
    own = rules.address(rules.place(caller)) if caller == "covered" else forwarding_address(rules, 1, pod)
    assert (outcome.error, outcome.backend, outcome.seen_as) == ("", pod.name, own)


@pytest.mark.parametrize("destination", ["ClusterIP", "external IP", "balancer IP"])
@pytest.mark.usefixtures("setting")
def test_the_nodes_own_packets_are_bound_by_no_external_policy(rules: World, destination: str) -> None:
    """Of a process that no socket hook sees: the node's address is what it sends with."""
    spec = rules.specs["external-local"]
    dialled = rules.target(spec, destination, "tcp")
    everyone = {pod.name for pod in spec.backends}
    outcomes = rules.caller("uncovered host").ask_each("tcp", dialled, everyone)
    assert {outcome.error for outcome in outcomes} == {""}
    assert {outcome.backend for outcome in outcomes} == everyone
    assert {outcome.seen_as for outcome in outcomes} == {node_address(1, rules.family)}


@pytest.mark.parametrize("destination", ["ClusterIP", *EXTERNAL])
@pytest.mark.usefixtures("setting")
def test_a_pod_of_another_node_never_sees_itself(rules: World, destination: str) -> None:
    """Its own address as the client's would be a martian: that it is its own backend is masqueraded, always."""
    (outcome,) = rules.caller(NEIGHBOUR).ask("tcp", rules.target(rules.specs["self-neighbour"], destination, "tcp"))
    expected = node_address(1, rules.family)
    assert (outcome.error, outcome.backend, outcome.seen_as) == ("", rules.lab.pod(2, 2).name, expected)
