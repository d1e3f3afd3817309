"""Services that change their type, labels and affinity: new connections follow, those that stand are never touched."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ebpflb.bench.plan import DUAL_STACK
from ebpflb.core.abi import Family
from tests.netns.services import Spec
from tests.netns.traffic.callers import Conversation, backends, conversation_with
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
NOBODY_ELSE = 20
"""Calls that one backend alone would answer, were there two to choose from, once in 10^6 times."""
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


def in_turns(names: Iterable[str]) -> list[tuple[str, Family]]:
    """Return each name with a family: a Service has both, and what changes changes for both."""
    return list(zip(names, itertools.cycle(DUAL_STACK), strict=False))


@pytest.fixture(scope="module", autouse=True)
def _configured(rules_world: World) -> None:
    rules_world.configure(*DETECTOR)


def serves(world: World, caller: str, spec: Spec, destination: str, count: int = 1) -> set[str]:
    """Return who answers; nobody may fail to."""
    return backends(world.caller(caller).ask("tcp", world.target(spec, destination, "tcp"), count=count))


def assert_all_serve(world: World, caller: str, spec: Spec, destination: str) -> None:
    """Each of a Service's backends answers, and nobody else does."""
    everyone = {pod.name for pod in spec.backends}
    assert backends(world.caller(caller).ask_each("tcp", world.target(spec, destination, "tcp"), everyone)) == everyone


def is_served(world: World, caller: str, spec: Spec, destination: str) -> bool:
    """Say whether anybody answers one who does not wait for long."""
    (outcome,) = world.caller(caller).ask("tcp", world.target(spec, destination, "tcp"), timeout=SILENCE)
    return outcome.error == ""


@pytest.mark.parametrize(("path", "family"), in_turns(PATHS), indirect=["family"])
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
        if destination in SERVED[spec.kind]:
            for caller in CALLERS:
                assert serves(world, caller, spec, destination) == {world.local.name}, (caller, destination)
        else:
            # Who meets silence has to wait for it.
            for caller in CALLERS if destination == "NodePort of node-1" else ("outside",):
                assert not is_served(world, caller, spec, destination), (caller, destination)


@pytest.mark.parametrize(("label", "family"), in_turns([PROXY_NAME, HEADLESS]), indirect=["family"])
def test_a_label_takes_a_service_away_and_gives_it_back(rules: World, label: str) -> None:
    spec = Spec("labelled", 63, (rules.local, rules.remote[0]))
    with rules.service(spec):
        for _ in range(2):
            for caller in CALLERS:
                assert_all_serve(rules, caller, spec, "ClusterIP")
            rules.put(replace(spec, labels={label: "anything"}))
            for caller in CALLERS:
                assert not is_served(rules, caller, spec, "NodePort of node-1")
            for caller in ("covered", "outside"):  # who meets silence has to wait for it
                assert not is_served(rules, caller, spec, "ClusterIP")
            rules.put(spec)


@pytest.mark.parametrize("destination", ["NodePort of node-1", "balancer IP"])
@pytest.mark.parametrize("caller", ["uncovered", "outside"])
def test_affinity_switched_on_and_off(rules: World, caller: str, destination: str) -> None:
    loose = Spec("switched", 64, (rules.local, *rules.remote))
    with rules.service(loose):
        for _ in range(2):
            assert_all_serve(rules, caller, loose, destination)
            rules.put(replace(loose, affinity_seconds=3600))
            assert len(serves(rules, caller, loose, destination, NOBODY_ELSE)) == 1
            rules.put(loose)


@contextmanager
def conversations(world: World, dialled: str, backend: str) -> Iterator[list[Conversation]]:
    """Have a connection to a backend from every caller."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(conversation_with(world.caller(caller), "tcp", dialled, backend)) for caller in CALLERS
        ]


@pytest.mark.parametrize(("change", "family"), in_turns(CHANGES), indirect=["family"])
def test_no_change_touches_a_connection_that_stands(rules: World, change: str) -> None:
    """Its backends are other Services', too, so they are never gone."""
    spec = Spec("standing", 65, rules.remote)
    pod = rules.remote[0].name
    with rules.service(spec):
        with conversations(rules, rules.target(spec, "balancer IP", "tcp"), pod) as standing:
            rules.put(replace(spec, **CHANGES[change]))
            for conversation in standing * 3:
                outcome = conversation.ask()
                assert (outcome.backend, outcome.error) == (pod, "")
            assert not is_served(rules, "outside", spec, "balancer IP")
        rules.put(spec)
        assert serves(rules, "outside", spec, "balancer IP") <= {each.name for each in spec.backends}


def test_a_connection_drains(rules: World) -> None:
    """Its backend terminates: nobody new comes, who is there stays, also when the Service turns to others."""
    leaving, staying = rules.remote
    spec = Spec("draining", 66, rules.remote)
    with (
        rules.service(spec),
        conversations(rules, rules.target(spec, "NodePort of node-1", "tcp"), leaving.name) as draining,
    ):
        for drained in (
            replace(spec, backends=(staying,), draining=(leaving,)),
            replace(spec, backends=(rules.local,), draining=(leaving, staying), external_local=True),
        ):
            rules.put(drained)
            assert {conversation.ask().backend for conversation in draining * 3} == {leaving.name}
            for caller in CALLERS:
                new = serves(rules, caller, spec, "NodePort of node-1", NOBODY_ELSE)
                assert new == {pod.name for pod in drained.backends}
