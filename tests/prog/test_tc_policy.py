"""The table of decisions (semantics.md 1.5), row by row: which backends a client is given, and whether they see it.

    frontend, policy, detector, client --> backends, "kept" | "node" | "hairpin"

Each row is tried with connections enough to meet every backend that it allows, and no other may be met.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import pytest

from ebpflb.core.abi import Counter, FrontendKind
from tests.prog.clients import (
    CLUSTER,
    CLUSTER_CIDR,
    DETECTORS,
    DEVICES,
    EXTERNAL,
    NONE,
    OTHER_POD,
    OUTSIDE,
    OWN,
    OWN_POD,
    Client,
    first_packet,
    met,
)
from tests.prog.harness import Verdict
from tests.prog.lab import Lab, drops
from tests.prog.services import Node, Service
from tests.prog.wire import Wire

pytestmark = pytest.mark.root

EVERY, LOCAL = frozenset({"pod2", "remote"}), frozenset({"pod2"})
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    name: str
    service: Service
    dialled: str
    node: Node
    client: Client
    backends: frozenset[str]
    seen_as: str
    """``kept``: the backend sees the client. ``node``: it sees the node."""


def external_cases() -> Iterable[Case]:
    for (kind, (where, dialled)), (name, node) in product(EXTERNAL.items(), DETECTORS.items()):
        everywhere = Service(where, tuple(EVERY), kind)
        local = replace(everywhere, local_policy=True)
        for client in (OUTSIDE, OWN_POD, OTHER_POD):
            yield Case(f"Cluster, {name}", everywhere, dialled, node, client, EVERY, "node")
            is_pod = node is not NONE if client is OWN_POD else client is OTHER_POD and node is CLUSTER_CIDR
            yield Case(f"Local, {name}", local, dialled, node, client, EVERY if is_pod else LOCAL, "kept")
        for service, policy in ((everywhere, "Cluster"), (local, "Local")):
            yield Case(f"{policy}, {name}", service, dialled, node, OWN, EVERY, "kept")


HIDDEN = {
    "no detector": (),
    "by NodeCIDR": (OUTSIDE, OTHER_POD),
    "by ClusterCIDR": (OUTSIDE,),
    "by device": (OUTSIDE, OTHER_POD),
}
"""Whom backends of a ClusterIP do not see."""


def internal_cases() -> Iterable[Case]:
    kind, where, dialled = CLUSTER
    for local_policy, (name, node) in product((False, True), DETECTORS.items()):
        service = Service(where, tuple(EVERY), kind, local_policy=local_policy)
        allowed, policy = (LOCAL, "Local") if local_policy else (EVERY, "Cluster")
        masquerading = replace(node, masquerade_all=True)
        for client in (OUTSIDE, OWN_POD, OTHER_POD):
            seen_as = "node" if client in HIDDEN[name] else "kept"
            yield Case(f"{policy}, {name}", service, dialled, node, client, allowed, seen_as)
            yield Case(f"{policy}, {name}, all", service, dialled, masquerading, client, allowed, "node")
        yield Case(f"{policy}, {name}", service, dialled, node, OWN, allowed, "kept")


CASES = [*external_cases(), *internal_cases()]


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.service.kind.name}, {case.name}, {case.client.name}" for case in CASES]
)
def test_the_table(tcp: Lab, case: Case) -> None:
    tcp.load(case.service, devices=DEVICES, node=case.node)
    assert met(tcp, case.client, case.dialled) == {(backend, case.seen_as) for backend in case.backends}


@pytest.mark.parametrize("kind", [*EXTERNAL, FrontendKind.CLUSTER_IP])
def test_masquerade_all_is_about_cluster_ips(tcp: Lab, kind: FrontendKind) -> None:
    where, dialled = EXTERNAL.get(kind, CLUSTER[1:])
    tcp.load(
        Service(where, tuple(EVERY), kind, local_policy=True),
        devices=DEVICES,
        node=replace(NONE, masquerade_all=True),
    )
    seen_as = "node" if kind is FrontendKind.CLUSTER_IP else "kept"
    assert met(tcp, OUTSIDE, dialled) == {("pod2", seen_as)}


EMPTY_LOCAL = {
    "outside": (OUTSIDE, CLUSTER_CIDR, NOBODY),
    "a pod": (OWN_POD, CLUSTER_CIDR, frozenset({"remote"})),
    "a pod that nobody knows for one": (OWN_POD, NONE, NOBODY),
    "a pod elsewhere": (OTHER_POD, CLUSTER_CIDR, frozenset({"remote"})),
    "the node itself": (OWN, NONE, frozenset({"remote"})),
}


@pytest.mark.parametrize("kind", EXTERNAL)
@pytest.mark.parametrize("name", EMPTY_LOCAL)
def test_without_a_local_backend_clients_outside_are_dropped(lab: Lab, kind: FrontendKind, name: str) -> None:
    client, node, expected = EMPTY_LOCAL[name]
    where, dialled = EXTERNAL[kind]
    lab.load(Service(where, ("remote",), kind, local_policy=True), devices=DEVICES, node=node)
    if expected:
        assert met(lab, client, dialled) == {("remote", "kept")}
        return
    step = drops(client.hook, Wire(f"{client.name}:4000", dialled), Counter.DROP_NO_LOCAL_BACKEND)
    lab.play(replace(step, device=client.device))
    assert not lab.datapath.flows()


@pytest.mark.parametrize("client", [OUTSIDE, OWN_POD, OTHER_POD, OWN], ids=lambda client: client.name)
def test_without_a_local_backend_a_cluster_ip_is_dropped_for_everybody(lab: Lab, client: Client) -> None:
    lab.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP, local_policy=True), node=CLUSTER_CIDR)
    assert first_packet(lab, client, 4000, "cluster:80") is Verdict.DROP
    assert not lab.datapath.flows()


@pytest.mark.parametrize("client", [OUTSIDE, OWN_POD, OTHER_POD, OWN], ids=lambda client: client.name)
@pytest.mark.parametrize("local_policy", [False, True])
@pytest.mark.parametrize("kind", [*EXTERNAL, FrontendKind.CLUSTER_IP])
def test_without_any_backend_everybody_is_refused(
    lab: Lab, client: Client, kind: FrontendKind, *, local_policy: bool
) -> None:
    where, dialled = EXTERNAL.get(kind, CLUSTER[1:])
    lab.load(Service(where, (), kind, local_policy=local_policy), node=CLUSTER_CIDR)
    assert first_packet(lab, client, 4000, dialled) is Verdict.REDIRECT
    assert not lab.datapath.flows()
