import pytest

from ebpflb.bench.addresses import bridge_address, client_address, node_address, pod_address, pod_network, tunnel_end
from ebpflb.bench.overlay import forwarding_batch, overlay_batch
from ebpflb.bench.plan import DUAL_STACK, IPV6_ONLY, LabPlan, PodNetwork, Underlay
from ebpflb.bench.wiring import client_batch, node_batch, node_sysctls, pod_batch, switch_batch
from ebpflb.core.abi import Family


def plan(pod_network: PodNetwork, family: Family = Family.IPV4, *, route_services: bool = False) -> LabPlan:
    return LabPlan((2, 1), pod_network, 1500, route_services, (family,))


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (
            Family.IPV4,
            ["192.168.100.2", "192.168.100.100", "10.244.2.0/24", "10.244.2.1", "10.244.2.12", "169.254.2.2"],
        ),
        (
            Family.IPV6,
            [
                "fd00:192:168:100::2",
                "fd00:192:168:100::64",
                "fd00:10:244:2::/64",
                "fd00:10:244:2::1",
                "fd00:10:244:2::c",
                "fe80::169:254:2:2",
            ],
        ),
    ],
)
def test_addresses(family: Family, expected: list[str]) -> None:
    assert [
        node_address(2, family),
        client_address(family),
        pod_network(2, family),
        bridge_address(2, family),
        pod_address(2, 2, family),
        tunnel_end(2, family),
    ] == expected


def test_every_neighbour_is_cabled_to_the_switch() -> None:
    assert switch_batch(plan(PodNetwork.ROUTED), {"node-1": "lab-node-1"}) == [
        "link set lo up",
        "link add br0 mtu 1500 type bridge",
        "link set br0 up",
        "link add node-1 mtu 1500 type veth peer name uplink0 mtu 1500 netns lab-node-1",
        "link set node-1 master br0 up",
    ]


def test_a_routed_node_has_a_host_route_per_pod() -> None:
    assert node_batch(plan(PodNetwork.ROUTED), 2, {1: "lab-pod"}) == [
        "link set lo up",
        "addr add 192.168.100.2/24 dev uplink0",
        "link set uplink0 up",
        "route add default via 192.168.100.100",
        "route add 10.244.1.0/24 via 192.168.100.1",
        "link add pod1 mtu 1500 type veth peer name eth0 mtu 1500 netns lab-pod",
        "link set pod1 up",
        "route add 10.244.2.11/32 dev pod1 scope link",
    ]


def test_a_bridged_node_has_its_pods_as_ports() -> None:
    assert node_batch(plan(PodNetwork.BRIDGED), 2, {1: "lab-pod"})[5:] == [
        "link add cni0 mtu 1500 type bridge",
        "addr add 10.244.2.1/24 dev cni0",
        "link set cni0 up",
        "link add pod1 mtu 1500 type veth peer name eth0 mtu 1500 netns lab-pod",
        "link set pod1 master cni0 up",
    ]


@pytest.mark.parametrize(
    ("pod_network", "expected"),
    [
        (
            PodNetwork.ROUTED,
            [
                "addr add 10.244.1.12/32 dev eth0",
                "route add 169.254.1.1 dev eth0 scope link",
                "route add default via 169.254.1.1 dev eth0",
            ],
        ),
        (PodNetwork.BRIDGED, ["addr add 10.244.1.12/24 dev eth0", "route add default via 10.244.1.1"]),
    ],
)
def test_a_pod_knows_its_gateway(pod_network: PodNetwork, expected: list[str]) -> None:
    assert pod_batch(plan(pod_network), 1, 2) == ["link set lo up", "link set eth0 up", *expected]


def test_a_dual_stack_node_has_both_families_on_the_same_devices() -> None:
    assert node_batch(LabPlan((1, 1), families=DUAL_STACK), 2, {1: "lab-pod"}) == [
        "link set lo up",
        "addr add 192.168.100.2/24 dev uplink0",
        "addr add fd00:192:168:100::2/64 dev uplink0 nodad",
        "link set uplink0 up",
        "route add default via 192.168.100.100",
        "route add default via fd00:192:168:100::64",
        "route add 10.244.1.0/24 via 192.168.100.1",
        "route add fd00:10:244:1::/64 via fd00:192:168:100::1",
        "link add pod1 mtu 1500 type veth peer name eth0 mtu 1500 netns lab-pod",
        "link set pod1 up",
        "route add 10.244.2.11/32 dev pod1 scope link",
        "route add fd00:10:244:2::b/128 dev pod1 scope link",
        "addr add fe80::169:254:1:1/64 dev pod1 nodad",
    ]


def test_over_vxlan_each_node_knows_the_others_statically() -> None:
    vxlan = LabPlan((1, 1), families=DUAL_STACK, underlay=Underlay.VXLAN)
    tunnel = "type vxlan id 1 dstport 4789 local 192.168.100.1 dev uplink0 nolearning"
    assert overlay_batch(vxlan, 1) == [
        f"link add vxlan0 address 02:00:00:00:0a:01 mtu 1450 {tunnel}",
        "link set vxlan0 up",
        "neigh add 169.254.2.2 lladdr 02:00:00:00:0a:02 dev vxlan0 nud permanent",
        "route add 10.244.2.0/24 via 169.254.2.2 dev vxlan0 onlink",
        "neigh add fe80::169:254:2:2 lladdr 02:00:00:00:0a:02 dev vxlan0 nud permanent",
        "route add fd00:10:244:2::/64 via fe80::169:254:2:2 dev vxlan0 onlink",
    ]
    assert forwarding_batch(vxlan, 1) == ["fdb append 02:00:00:00:0a:02 dev vxlan0 dst 192.168.100.2 self permanent"]
    lines = node_batch(vxlan, 1, {1: "lab-pod"})
    assert [line for line in lines if line.startswith("route add fd00:10:244:2")] == [overlay_batch(vxlan, 1)[-1]]


@pytest.mark.parametrize(
    ("plan", "mtu"),
    [
        (LabPlan((1,)), 1500),
        (LabPlan((1,), underlay=Underlay.VXLAN), 1450),
        (LabPlan((1,), underlay=Underlay.VXLAN, families=IPV6_ONLY), 1430),
    ],
)
def test_pods_leave_room_for_the_overlay(plan: LabPlan, mtu: int) -> None:
    assert f"type veth peer name eth0 mtu {mtu}" in "".join(node_batch(plan, 1, {1: "lab-pod"}))
    assert "type veth peer name uplink0 mtu 1500" in "".join(switch_batch(plan, {"node-1": "lab-node-1"}))


@pytest.mark.parametrize("route_services", [False, True])
def test_the_client_knows_services_only_when_asked(route_services: bool) -> None:
    lines = client_batch(plan(PodNetwork.ROUTED, route_services=route_services))
    assert [line for line in lines if line.startswith("route")] == (
        ["route add 10.96.0.0/12 via 192.168.100.1"] if route_services else []
    )


def test_only_routed_nodes_answer_arp_for_the_gateway() -> None:
    proxied = ("net/ipv4/conf/pod2/proxy_arp", "1")
    assert proxied in node_sysctls(plan(PodNetwork.ROUTED), 1)
    assert proxied not in node_sysctls(plan(PodNetwork.BRIDGED), 1)
    assert proxied not in node_sysctls(plan(PodNetwork.ROUTED), 2)
