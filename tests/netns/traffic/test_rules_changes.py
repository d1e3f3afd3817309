"""Services that change their type, labels and affinity: new connections follow, those that stand are never touched."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.netns.services import Spec
from tests.netns.traffic.callers import conversation_with
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.world import DETECTOR, World

pytestmark = pytest.mark.root

CALLERS = ("covered", "uncovered", "host", "outside")
SERVED: Mapping[str, frozenset[str]] = {
    "ExternalName": frozenset(),
    "ClusterIP": frozenset({"ClusterIP", "external IP"}),
    "NodePort": frozenset({"ClusterIP", "external IP", "NodePort of node-1"}),
    "LoadBalancer": frozenset({"ClusterIP", "external IP", "NodePort of node-1", "balancer IP"}),
}
"""By type of Service, which addresses lead to it."""
PATHS = {
    "up and down": ("ClusterIP", "NodePort", "LoadBalancer", "NodePort", "ClusterIP"),
    "by ExternalName": ("ClusterIP", "ExternalName", "ClusterIP"),
    "NodePort by ExternalName": ("NodePort", "ExternalName", "NodePort"),
    "all at once": ("LoadBalancer", "ExternalName", "LoadBalancer", "ClusterIP"),
}
EVERYWHERE = 40
PROXY_NAME, HEADLESS = "service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "another proxy's": {"labels": {PROXY_NAME: "other"}},
    "headless": {"labels": {HEADLESS: ""}},
    "ExternalName": {"kind": "ExternalName"},
    "ClusterIP": {"kind": "ClusterIP"},
    "no backends": {"backends": ()},
    "external policy Local": {"external_local": True},
    "source ranges": {"source_ranges": ("192.0.2.0/24", "2001:db8:dead::/64")},
}
"""What ends a Service's load-balancer IP for new connections from outside."""


@pytest.fixture(scope="module", autouse=True)
def _configured(rules_world: World) -> None:
    rules_world.configure(*DETECTOR)


def serves(world: World, caller: str, spec: Spec, destination: str, count: int = 1) -> set[str]:
    """Return who answers; nobody: the empty set."""
    dialled = world.target(spec, destination, "tcp")
    outcomes = world.caller(caller).ask("tcp", dialled, count=count, timeout=SILENCE)
    return {outcome.backend for outcome in outcomes} - {""}


@pytest.mark.parametrize("path", PATHS)
def test_a_service_changes_its_type(rules: World, path: str) -> None:
    first, *others = (Spec("changing", 62, (rules.local,), kind=kind) for kind in PATHS[path])
    with rules.service(first):
        assert_reached_as(rules, first)
        for spec in others:
            rules.put(spec)
            assert_reached_as(rules, spec)


def assert_reached_as(world: World, spec: Spec) -> None:
    """Every caller reaches a Service with one backend at the addresses of its type, and at no other."""
    for destination in SERVED["LoadBalancer"]:
        expected = {world.local.name} if destination in SERVED[spec.kind] else set()
        # Who meets silence has to wait for it.
        callers = CALLERS if expected or destination == "NodePort of node-1" else ("covered", "outside")
        answers = {caller: serves(world, caller, spec, destination) for caller in callers}
        assert answers == dict.fromkeys(callers, expected)


@pytest.mark.parametrize("label", [PROXY_NAME, HEADLESS])
def test_a_label_takes_a_service_away_and_gives_it_back(rules: World, label: str) -> None:
    spec = Spec("labelled", 63, (rules.local, rules.remote[0]))
    with rules.service(spec):
        for _ in range(2):
            for caller in CALLERS:
                assert serves(rules, caller, spec, "ClusterIP", EVERYWHERE) == {pod.name for pod in spec.backends}
            rules.put(replace(spec, labels={label: "anything"}))
            for caller in CALLERS:
                assert serves(rules, caller, spec, "ClusterIP") == set()
                assert serves(rules, caller, spec, "NodePort of node-1") == set()
            rules.put(spec)


@pytest.mark.parametrize("destination", ["NodePort of node-1", "balancer IP"])
@pytest.mark.parametrize("caller", ["uncovered", "outside"])
def test_affinity_switched_on_and_off(rules: World, caller: str, destination: str) -> None:
    loose = Spec("switched", 64, (rules.local, *rules.remote))
    everyone = {pod.name for pod in loose.backends}
    with rules.service(loose):
        for _ in range(2):
            assert serves(rules, caller, loose, destination, EVERYWHERE) == everyone
            rules.put(replace(loose, affinity_seconds=3600))
            assert len(serves(rules, caller, loose, destination, EVERYWHERE)) == 1
            rules.put(loose)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("caller", CALLERS)
def test_no_change_touches_a_connection_that_stands(rules: World, caller: str, change: str) -> None:
    """Its backends are other Services', too, so they are never gone."""
    spec = Spec("standing", 65, rules.remote)
    with rules.service(spec):
        dialled = rules.target(spec, "balancer IP", "tcp")
        with conversation_with(rules.caller(caller), "tcp", dialled, rules.remote[0].name) as conversation:
            rules.put(replace(spec, **CHANGES[change]))
            outcomes = [conversation.ask() for _ in range(3)]
            assert {(outcome.backend, outcome.error) for outcome in outcomes} == {(rules.remote[0].name, "")}
            assert serves(rules, "outside", spec, "balancer IP") == set()
        rules.put(spec)
        assert serves(rules, "outside", spec, "balancer IP")


@pytest.mark.parametrize("caller", CALLERS)
def test_a_connection_drains(rules: World, caller: str) -> None:
    """Its backend terminates: nobody new comes, who is there stays, also when the Service turns to others."""
    leaving, staying = rules.remote
    spec = Spec("draining", 66, rules.remote)
    with rules.service(spec):
        dialled = rules.target(spec, "NodePort of node-1", "tcp")
        with conversation_with(rules.caller(caller), "tcp", dialled, leaving.name) as conversation:
            for drained in (
                replace(spec, backends=(staying,), draining=(leaving,)),
                replace(spec, backends=(rules.local,), draining=(leaving, staying), external_local=True),
            ):
                rules.put(drained)
                assert [conversation.ask().backend for _ in range(3)] == [leaving.name] * 3
                new = serves(rules, caller, spec, "NodePort of node-1", EVERYWHERE // 4)
                assert new == {pod.name for pod in drained.backends}
