"""On which addresses of a node NodePorts hold: nodePortAddresses, the first one, loopback, addresses that come."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from ebpflb.bench.addresses import join_port
from ebpflb.core.abi import Family
from tests.netns.traffic.paths import LOOPBACK, SECOND_NODE_ADDRESS
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.world import DETECTOR, World, until

pytestmark = pytest.mark.root

FIRST, SECOND, LOOP = "NodePort of node-1", "NodePort of node-1's other address", "NodePort of loopback"
ALL = frozenset({FIRST, SECOND, LOOP})
LATER = {Family.IPV4: "172.30.0.9", Family.IPV6: "fd00:172:30::9"}
"""In the network of node-1's other address; nobody has it from the start."""


class Setting(NamedTuple):
    """How an agent is configured, and where NodePorts hold then, in each family."""

    flags: tuple[str, ...]
    ipv4: frozenset[str]
    ipv6: frozenset[str]


SETTINGS = {
    "nothing said": Setting((), frozenset({FIRST, LOOP}), frozenset({FIRST, LOOP})),
    "primary": Setting(("--nodeport-addresses", "primary"), frozenset({FIRST}), frozenset({FIRST})),
    "a network": Setting(("--nodeport-addresses", "172.30.0.0/16"), frozenset({SECOND}), ALL),
    "a network of each": Setting(
        ("--nodeport-addresses", "172.30.0.0/16,fd00:172:30::/48"), frozenset({SECOND}), frozenset({SECOND})
    ),
    "loopback alone": Setting(("--nodeport-addresses", "127.0.0.0/8,::1/128"), frozenset({LOOP}), frozenset({LOOP})),
    "everything": Setting(("--nodeport-addresses", "0.0.0.0/0,::/0"), ALL, ALL),
    "not on loopback": Setting(
        ("--iptables-localhost-nodeports=false", "--nodeport-addresses", "0.0.0.0/0,::/0"),
        ALL - {LOOP},
        ALL - {LOOP},
    ),
}


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest, rules_world: World) -> Setting:
    """Configure node-1's agent."""
    chosen = SETTINGS[request.param]
    rules_world.configure(*DETECTOR, *chosen.flags)
    return chosen


@pytest.mark.parametrize(
    ("caller", "destination"),
    [
        *((caller, where) for caller in ("outside", "uncovered", "covered", "host") for where in (FIRST, SECOND)),
        *((caller, LOOP) for caller in ("host", "hostNetwork")),
    ],
    ids=lambda name: name.replace(" ", "-"),
)
def test_node_ports_hold_where_they_are_told_to(rules: World, setting: Setting, caller: str, destination: str) -> None:
    holds = destination in (setting.ipv4 if rules.family is Family.IPV4 else setting.ipv6)
    spec = rules.specs["local"]
    (outcome,) = rules.caller(caller).ask("tcp", rules.target(spec, destination, "tcp"))
    # Where they do not it is a port of the node that nobody listens on.
    assert (outcome.error, outcome.backend) == (("", rules.local.name) if holds else ("ECONNREFUSED", ""))


@pytest.mark.parametrize("destination", ["ClusterIP", "external IP", "balancer IP"])
@pytest.mark.usefixtures("setting")
def test_other_addresses_of_a_service_are_not_meant(rules: World, destination: str) -> None:
    (outcome,) = rules.caller("outside").ask("tcp", rules.target(rules.specs["local"], destination, "tcp"))
    assert (outcome.error, outcome.backend) == ("", rules.local.name)


@contextmanager
def another_address(world: World) -> Iterator[str]:
    """Give node-1 one more address, and the client a way to it."""
    address = LATER[world.family]
    bits = 32 if world.family is Family.IPV4 else 128
    node, client = world.lab.node(1), world.lab.client
    client.run(["ip", "route", "replace", f"{address}/{bits}", "via", world.address(node)])
    node.run(["ip", "address", "add", f"{address}/{bits}", "dev", "other0"])
    try:
        yield address
    finally:
        node.run(["ip", "address", "del", f"{address}/{bits}", "dev", "other0"])


@pytest.mark.parametrize("caller", ["outside", "host"])
def test_node_ports_follow_the_nodes_addresses(rules: World, caller: str) -> None:
    rules.configure(*DETECTOR, "--nodeport-addresses", "172.30.0.0/16,fd00:172:30::/48")
    spec = rules.specs["local"]

    def error_at(address: str) -> str:
        dialled = join_port(address, spec.node_port("tcp"))
        (outcome,) = rules.caller(caller).ask("tcp", dialled, timeout=SILENCE)
        return outcome.error

    with another_address(rules) as address:
        until(lambda: error_at(address) == "", "the new address never serves")
    # Nobody's now: the packet goes to the default router, which is the client.
    until(lambda: error_at(address) != "", "the address that is gone still serves")
    until(lambda: not rules.knows_own(address), "the node never forgets its address")


def test_a_process_of_the_host_may_own_a_port_where_node_ports_do_not_hold(rules: World) -> None:
    rules.configure(*DETECTOR, "--nodeport-addresses", "172.30.0.0/16,fd00:172:30::/48")
    port = rules.specs["local"].node_port("tcp")
    bind = "import socket, sys; s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=int(sys.argv[3]))"
    number = 2 if rules.family is Family.IPV4 else 10

    def bound(address: str) -> bool:
        arguments = ["/usr/bin/python3", "-c", bind, address, str(port), str(number)]
        return rules.lab.node(1).run(arguments, check=False).returncode == 0

    assert bound(rules.address(rules.lab.node(1)))
    assert bound(LOOPBACK[rules.family])
    assert not bound(SECOND_NODE_ADDRESS[rules.family])
