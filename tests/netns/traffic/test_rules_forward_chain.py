"""Network policies in netfilter's FORWARD chain see clients of local pods once these are not masqueraded."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ebpflb.bench.topology import Node
from ebpflb.core.abi import Family
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.world import DETECTOR, World

pytestmark = pytest.mark.root

KINDS = ("tcp", "udp")
DESTINATIONS = ("ClusterIP", "external IP", "balancer IP", "NodePort of node-1")
TABLE = "inet policies"


@pytest.fixture(scope="module", autouse=True)
def _configured(rules_world: World) -> None:
    rules_world.configure(*DETECTOR, "--no-masquerade-local-pods")


@contextmanager
def policies(node: Node, *rules: str) -> Iterator[None]:
    """Have a node drop what it forwards if a rule says so, or conntrack makes nothing of it."""
    lines = [
        f"add table {TABLE}",
        f"add chain {TABLE} forward {{ type filter hook forward priority 0; policy accept; }}",
    ]
    lines += [f"add rule {TABLE} forward {rule}" for rule in ("ct state invalid drop", *rules)]
    node.run(["nft", "; ".join(lines)])
    try:
        yield
    finally:
        node.run(["nft", f"delete table {TABLE}"])


def drop_from(world: World, client: str) -> str:
    """Return a policy of the local backend against a client."""
    word = "ip" if world.family is Family.IPV4 else "ip6"
    return f"{word} saddr {client} {word} daddr {world.address(world.local)} drop"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_policy_knows_a_client_by_its_own_address(rules: World, destination: str, kind: str) -> None:
    client = rules.address(rules.place("outside"))
    dialled = rules.target(rules.specs["local"], destination, kind)
    with policies(rules.lab.node(1), drop_from(rules, rules.address(rules.place("neighbour")))):
        outcomes = rules.caller("outside").ask(kind, dialled, count=3)
    assert {(outcome.error, outcome.seen_as) for outcome in outcomes} == {("", client)}
    with policies(rules.lab.node(1), drop_from(rules, client)):
        (outcome,) = rules.caller("outside").ask(kind, dialled, timeout=SILENCE)
    assert outcome.error == "timeout"


def test_who_comes_from_another_nodes_pod_is_seen_too(rules: World) -> None:
    dialled = rules.target(rules.specs["local"], "NodePort of node-1", "tcp")
    neighbour = rules.address(rules.place("neighbour"))
    with policies(rules.lab.node(1)):
        (outcome,) = rules.caller("neighbour").ask("tcp", dialled)
    assert (outcome.error, outcome.seen_as) == ("", neighbour)
