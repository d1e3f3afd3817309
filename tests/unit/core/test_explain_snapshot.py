"""What a snapshot adds to the rows that are compiled from it."""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.explain import Client, Flow, Verdict, decide
from ebpflb.core.explain_snapshot import index_of
from ebpflb.core.model import Host, Node, ServiceType, Snapshot, parse_address
from ebpflb.core.options import DEFAULTS, DetectLocal, Options
from tests.unit.core.factories import HERE, NODE_HTTP, endpoint, endpoint_slice, service, snapshot

NODE_IP = "192.0.2.1"


def flow(source: str, target: str, port: int = 80) -> Flow:
    return Flow(parse_address(source), parse_address(target), port, Protocol.TCP)


def world() -> Snapshot:
    node = Node(HERE, addresses=(parse_address(NODE_IP),), pod_cidrs=("10.244.1.0/24", "fd00::/64"))
    balanced = service(
        type=ServiceType.LOAD_BALANCER,
        ports=(NODE_HTTP,),
        external_local=True,
        health_check_node_port=32000,
    )
    slices = endpoint_slice(endpoint("10.8.0.1", HERE), endpoint("10.8.0.2"))
    return snapshot(balanced, slices, node=node, host=Host(addresses=frozenset(node.addresses)))


def test_it_is_compiled_as_the_agent_would() -> None:
    found = index_of(world(), Family.IPV4, DEFAULTS)
    assert found.refused == ()
    decision = decide(found.index, flow("198.51.100.1", NODE_IP, 30080))
    assert [each.key.address for each in decision.backends] == [parse_address("10.8.0.1")]


def test_what_is_refused_is_told() -> None:
    twice = replace(service("other"), cluster_ips=(parse_address("10.96.0.1"),))
    found = index_of(replace(world(), services={each.key: each for each in (service(), twice)}), Family.IPV4, DEFAULTS)
    assert [refusal.service for refusal in found.refused] == ["shop/web"]


NODE_IPV6 = "fd00::1"
LISTED, EVERYWHERE = ("192.0.2.0/24", "fd00::/64"), ("0.0.0.0/0", "::/0")


@pytest.mark.parametrize(
    ("addresses", "source", "target", "verdict"),
    [
        ((), "198.51.100.1", NODE_IP, Verdict.ACCEPT),
        ((), "fd00::9", NODE_IPV6, Verdict.PASS),
        (LISTED, "fd00::9", NODE_IPV6, Verdict.PASS),
        (LISTED, "127.0.0.1", "127.0.0.1", Verdict.PASS),
        (EVERYWHERE, "198.51.100.1", NODE_IP, Verdict.ACCEPT),
        (EVERYWHERE, "fd00::9", NODE_IPV6, Verdict.ACCEPT),
        (EVERYWHERE, "fd00::9", "fd00::2", Verdict.PASS),
        (EVERYWHERE, "127.0.0.1", "127.0.0.1", Verdict.ACCEPT),
        (EVERYWHERE, "::1", "::1", Verdict.ACCEPT),
        (("0.0.0.0/0", "fd00::/64"), "fd00::9", NODE_IPV6, Verdict.PASS),
        (LISTED[:1], "fd00::9", NODE_IPV6, Verdict.ACCEPT),
    ],
)
def test_a_family_without_a_cluster_ip_has_a_health_check_where_it_listens_everywhere(
    addresses: tuple[str, ...], source: str, target: str, verdict: Verdict
) -> None:
    both = tuple(map(parse_address, (NODE_IP, NODE_IPV6)))
    known = replace(world(), node=replace(world().node, addresses=both), host=Host(addresses=frozenset(both)))
    family = Family.IPV6 if ":" in target else Family.IPV4
    index = index_of(known, family, Options(node_port_addresses=addresses)).index
    decision = decide(index, flow(source, target, 32000))
    assert (decision.verdict, decision.service) == (verdict, "shop/web" if verdict is Verdict.ACCEPT else "")


def test_pods_of_this_node_are_known_where_devices_would_tell() -> None:
    by_device = Options(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth")
    index = index_of(world(), Family.IPV4, by_device).index
    clients = {
        source: decide(index, flow(source, "10.96.0.1")).client
        for source in ("10.244.1.77", "10.8.0.1", "10.8.0.2", NODE_IP)
    }
    assert list(clients.values()) == [Client.POD, Client.POD, Client.OTHER, Client.NODE]
    index_of(world(), Family.IPV6, by_device)
