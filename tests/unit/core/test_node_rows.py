"""The node's own rows: its addresses and devices, and what holds for every Service there."""

from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.abi import ConfigFlag, DeviceFlag, Family, FrontendFlag, NodeAddrFlag
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.model import Device, Host, Node, Service, ServiceCIDR, Snapshot, format_address, parse_address
from ebpflb.core.options import PRIMARY, DetectLocal, Options
from ebpflb.core.primary import primary_addresses
from ebpflb.core.tables import CONFIG_KEY, ConfigRow, DeviceRow, Prefix, Tables
from tests.unit.core.factories import HERE, ROOMY, service, snapshot

V4, V6 = Family
PRIMARY_V4, PRIMARY_V6 = "192.0.2.1", "2001:db8::1"
NODE = Node(HERE, addresses=tuple(map(parse_address, (PRIMARY_V4, PRIMARY_V6, "203.0.113.1"))))
OWN = ("192.0.2.1", "192.0.2.2", "203.0.113.1", "2001:db8::1", "2001:db8::2")
HOST = Host(frozenset(map(parse_address, OWN)))
ALL = {family: {text for text in OWN if (":" in text) is (family is V6)} for family in Family}


def rows(state: Snapshot, family: Family = V4, **options: Any) -> Tables:
    return compile_tables(state, family, Allocation(), ROOMY, options=Options(**options)).tables


def world(*services: Service, node: Node = NODE, host: Host = HOST, cidrs: tuple[str, ...] = ()) -> Snapshot:
    ranges = {("", "all"): ServiceCIDR("all", cidrs)} if cidrs else {}
    return replace(snapshot(*services, node=node, host=host), service_cidrs=ranges)


def config(state: Snapshot, family: Family = V4, **options: Any) -> ConfigRow:
    tables = rows(state, family, **options)
    assert tables.config.keys() == {CONFIG_KEY}
    return tables.config[CONFIG_KEY]


def prefix(text: str) -> Prefix:
    address, _, length = text.partition("/")
    return Prefix(parse_address(address), int(length))


# -- NodePorts: the addresses where they hold ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "v4", "v6"),
    [
        pytest.param((), {PRIMARY_V4}, {PRIMARY_V6}, id="unset is primary, as in nftables mode"),
        pytest.param((PRIMARY,), {PRIMARY_V4}, {PRIMARY_V6}, id="primary"),
        pytest.param(("192.0.2.0/24", "2001:db8::2/128"), {"192.0.2.1", "192.0.2.2"}, {"2001:db8::2"}, id="prefixes"),
        pytest.param(("192.0.2.2/32",), {"192.0.2.2"}, ALL[V6], id="none of a family is all of it"),
        pytest.param(("2001:db8::/127",), ALL[V4], {"2001:db8::1"}, id="none of IPv4"),
        pytest.param(("10.0.0.0/8", "0.0.0.0/0"), ALL[V4], ALL[V6], id="a zero-length prefix wins"),
        pytest.param(("10.0.0.0/8", "fd00::/8"), set(), set(), id="a prefix that no address lies in"),
        pytest.param(("192.0.2.7/24",), {"192.0.2.1", "192.0.2.2"}, ALL[V6], id="bits behind the prefix do not matter"),
        pytest.param(("192.0.2.0/33",), ALL[V4], ALL[V6], id="what is no prefix says nothing"),
    ],
)
def test_node_ports_hold_where_the_configuration_says(asked: tuple[str, ...], v4: set[str], v6: set[str]) -> None:
    for family, expected in ((V4, v4), (V6, v6)):
        found = rows(world(), family, node_port_addresses=asked).node_addrs
        assert {format_address(address) for address in found} == ALL[family]
        assert {format_address(address) for address, flags in found.items() if NodeAddrFlag.NODE_PORTS in flags} == (
            expected
        )


def test_an_address_that_comes_and_goes_is_where_node_ports_hold_while_it_is_there() -> None:
    late = parse_address("192.0.2.99")
    later = world(host=Host(HOST.addresses | {late}))
    asked: dict[str, Any] = {"node_port_addresses": ("192.0.2.0/24",)}
    assert late not in rows(world(), **asked).node_addrs
    assert rows(later, **asked).node_addrs[late] == NodeAddrFlag.NODE_PORTS
    assert rows(later).node_addrs[late] == NodeAddrFlag(0)


@pytest.mark.parametrize(
    ("asked", "node_ips", "expected"),
    [
        pytest.param((), (), ALL[V4], id="unset, nothing is known"),
        pytest.param((PRIMARY,), (), set(), id="primary, nothing is known"),
        pytest.param((), (PRIMARY_V4,), {PRIMARY_V4}, id="unset, bindAddress"),
        pytest.param((PRIMARY,), (PRIMARY_V4,), {PRIMARY_V4}, id="primary, bindAddress"),
        pytest.param((), (PRIMARY_V6,), set(), id="unset, bindAddress of the other family"),
        pytest.param((PRIMARY,), (PRIMARY_V6,), set(), id="primary, bindAddress of the other family"),
        pytest.param(("192.0.2.0/24",), (), {"192.0.2.1", "192.0.2.2"}, id="prefixes"),
    ],
)
def test_without_a_first_address_node_ports_hold_everywhere_unless_it_is_asked_for(
    asked: tuple[str, ...], node_ips: tuple[str, ...], expected: set[str]
) -> None:
    told: dict[str, Any] = {"node_port_addresses": asked, "node_ips": tuple(map(parse_address, node_ips))}
    found = rows(world(node=Node(HERE)), **told).node_addrs
    assert {format_address(address) for address, flags in found.items() if NodeAddrFlag.NODE_PORTS in flags} == expected


def test_a_node_without_an_address_of_a_family_has_no_node_ports_there() -> None:
    only_v4 = Node(HERE, addresses=(parse_address(PRIMARY_V4),))
    assert set(rows(world(node=only_v4), V6).node_addrs.values()) == {NodeAddrFlag(0)}


def test_the_first_address_is_the_one_told_else_the_node_object_s() -> None:
    assert [primary_addresses(NODE, family, Options()) for family in Family] == [
        [parse_address(PRIMARY_V4)],
        [parse_address(PRIMARY_V6)],
    ]
    told = Options(node_ips=(parse_address("192.0.2.2"),))
    assert primary_addresses(NODE, V4, told) == [parse_address("192.0.2.2")]
    assert primary_addresses(NODE, V6, told) == [parse_address(PRIMARY_V6)]
    assert primary_addresses(Node(HERE), V4, Options()) == []
    flags = rows(world(), node_ips=told.node_ips).node_addrs
    assert {format_address(address): bool(each) for address, each in flags.items()} == {
        "192.0.2.1": False,
        "192.0.2.2": True,
        "203.0.113.1": False,
    }


@pytest.mark.parametrize(
    ("asked", "v4", "v6"),
    [
        ((), True, True),
        ((PRIMARY,), False, False),
        (("0.0.0.0/0",), True, True),
        (("127.0.0.0/8",), True, True),
        (("127.0.0.1/32", "::1/128"), True, True),
        (("192.0.2.0/24",), False, True),
        (("fd00::/8",), True, False),
        (("192.0.2.0/24", "fd00::/8"), False, False),
    ],
)
def test_node_ports_hold_on_loopback_unless_the_addresses_leave_it_out(
    asked: tuple[str, ...], v4: bool, v6: bool
) -> None:
    for family, expected in ((V4, v4), (V6, v6)):
        found = config(world(), family, node_port_addresses=asked).flags
        assert (ConfigFlag.LOOPBACK_NODE_PORTS in found) is expected
        off = config(world(), family, node_port_addresses=asked, localhost_node_ports=False).flags
        assert ConfigFlag.LOOPBACK_NODE_PORTS not in off


# -- the local-traffic detector --------------------------------------------------------------------------------------

PODS_NODE = replace(NODE, pod_cidrs=("10.244.1.0/24", "fd00:1::/64"))


@pytest.mark.parametrize(
    ("mode", "options", "flag", "pods"),
    [
        (DetectLocal.CLUSTER_CIDR, {}, ConfigFlag(0), "0.0.0.0/0"),
        (DetectLocal.CLUSTER_CIDR, {"cluster_cidrs": ("10.244.0.0/16",)}, "network", "10.244.0.0/16"),
        (DetectLocal.CLUSTER_CIDR, {"cluster_cidrs": ("fd00::/16", "10.244.0.0/16")}, "network", "10.244.0.0/16"),
        (DetectLocal.CLUSTER_CIDR, {"cluster_cidrs": ("fd00::/16",)}, ConfigFlag(0), "0.0.0.0/0"),
        (DetectLocal.NODE_CIDR, {"cluster_cidrs": ("10.244.0.0/16",)}, "network", "10.244.1.0/24"),
        (DetectLocal.BRIDGE_INTERFACE, {"pod_interface": "cni0"}, ConfigFlag.DETECT_BY_DEVICE, "0.0.0.0/0"),
        (DetectLocal.INTERFACE_NAME_PREFIX, {"pod_interface": "cali"}, ConfigFlag.DETECT_BY_DEVICE, "0.0.0.0/0"),
    ],
)
def test_a_pod_is_known_by_its_network_or_by_its_device(
    mode: DetectLocal, options: dict[str, Any], flag: ConfigFlag | str, pods: str
) -> None:
    wanted = ConfigFlag.DETECT_BY_NETWORK if flag == "network" else flag
    row = config(world(node=PODS_NODE), detect_local=mode, **options)
    assert row.flags & (ConfigFlag.DETECT_BY_NETWORK | ConfigFlag.DETECT_BY_DEVICE) == wanted
    assert row.pods == prefix(pods)


def test_a_node_without_a_pod_network_has_no_detector_by_it() -> None:
    row = config(world(), V6, detect_local=DetectLocal.NODE_CIDR)
    assert ConfigFlag.DETECT_BY_NETWORK not in row.flags


def test_pods_come_by_the_bridge_or_by_what_it_has_taken_in() -> None:
    devices = (
        Device(2, "eth0", ()),
        Device(3, "cni0", (), serves_pods=True),
        Device(4, "veth1", (), serves_pods=True, master="cni0"),
        Device(5, "cali7", (), serves_pods=True),
        Device(6, "veth2", (), serves_pods=True, master="cali-br"),
    )

    def sources(**options: Any) -> list[int]:
        found = rows(world(host=Host(HOST.addresses, devices)), **options).devices
        return [ifindex for ifindex, row in found.items() if DeviceFlag.POD_SOURCE in row.flags]

    assert sources(detect_local=DetectLocal.BRIDGE_INTERFACE, pod_interface="cni0") == [3, 4]
    assert sources(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="cali") == [5, 6]
    assert sources(detect_local=DetectLocal.CLUSTER_CIDR, cluster_cidrs=("10.0.0.0/8",)) == []


def test_masquerade_all_is_told() -> None:
    assert ConfigFlag.MASQUERADE_ALL in config(world(), masquerade_all=True).flags
    assert config(world()).flags == ConfigFlag.WRITTEN | ConfigFlag.LOOPBACK_NODE_PORTS


# -- devices ---------------------------------------------------------------------------------------------------------


def test_a_device_masquerades_with_its_first_address_of_the_family() -> None:
    v4, v6 = parse_address("10.9.0.1"), parse_address("fd00::9")
    host = Host(frozenset({v4, v6}), (Device(2, "eth0", (v6, v4)), Device(3, "eth1", (v6,), 9000, supports_xdp=True)))
    tables = rows(world(host=host))
    assert tables.node_addrs.keys() == {v4}
    assert tables.devices == {2: DeviceRow(v4, 1500, DeviceFlag(0)), 3: DeviceRow(bytes(4), 9000, DeviceFlag.XDP)}


UPLINK = Device(2, "eth0", tuple(map(parse_address, ("192.0.2.2", "2001:db8::2"))))


@pytest.mark.parametrize(
    ("device", "node", "expected"),
    [
        pytest.param(Device(9, "cni0", (parse_address("10.244.1.1"),)), NODE, "10.244.1.1", id="its own"),
        pytest.param(Device(9, "veth1", ()), NODE, PRIMARY_V4, id="the node's first"),
        pytest.param(Device(9, "veth1", (parse_address("fd00::1"),)), NODE, PRIMARY_V4, id="own of the other family"),
        pytest.param(
            Device(9, "veth1", ()),
            Node(HERE, addresses=(parse_address("198.51.100.1"),)),
            "192.0.2.2",
            id="an uplink's, where the node's first is on no device (a cloud's public address)",
        ),
        pytest.param(Device(9, "veth1", ()), Node(""), "192.0.2.2", id="an uplink's, where the node has none"),
    ],
)
def test_packets_to_pods_are_masqueraded_with(device: Device, node: Node, expected: str) -> None:
    device = replace(device, serves_pods=True)
    tables = rows(world(node=node, host=Host(HOST.addresses, (UPLINK, device))))
    assert tables.devices[9] == DeviceRow(parse_address(expected), 1500, DeviceFlag.PODS)
    assert tables.devices[2] == DeviceRow(parse_address("192.0.2.2"), 1500, DeviceFlag(0))


def test_without_any_address_nothing_is_masqueraded_to_pods() -> None:
    host = Host(devices=(Device(9, "veth1", (), serves_pods=True),))
    assert rows(world(node=Node(HERE), host=host)).devices[9] == DeviceRow(bytes(4), 1500, DeviceFlag.PODS)


def test_local_pods_see_their_clients_if_told_so() -> None:
    host = Host(HOST.addresses, (UPLINK, replace(UPLINK, ifindex=9, serves_pods=True)))
    assert rows(world(host=host), masquerade_local_pods=False).devices[9].flags == DeviceFlag(0)


# -- where ClusterIPs are --------------------------------------------------------------------------------------------


def test_service_cidrs_are_those_of_the_family_each_once() -> None:
    state = world(cidrs=("10.96.0.0/16", "fd00:96::/108", "10.97.0.0/16", "10.96.0.0/16", "10.96.1.0/16", "no prefix"))
    assert rows(state).service_cidrs == {prefix("10.96.0.0/16"): 0, prefix("10.97.0.0/16"): 0}
    assert rows(state, V6).service_cidrs == {prefix("fd00:96::/108"): 0}
    assert rows(world()).service_cidrs == {}


@pytest.mark.parametrize(
    ("ips", "cidrs", "guard"),
    [
        ((), (), "0.0.0.0/32"),
        (("10.96.0.1",), (), "10.96.0.1/32"),
        (("10.96.0.1", "10.96.0.2"), (), "10.96.0.0/30"),
        (("10.96.0.1",), ("10.96.0.0/16",), "10.96.0.0/16"),
        (("10.97.0.1",), ("10.96.0.0/16",), "10.96.0.0/15"),
        ((), ("10.96.0.0/16", "10.100.0.0/16"), "10.96.0.0/13"),
        ((), ("10.96.0.0/16", "fd00::/64"), "10.96.0.0/16"),
        (("10.96.0.1", "192.168.0.1"), (), "0.0.0.0/0"),
        ((), ("0.0.0.0/0",), "0.0.0.0/0"),
    ],
)
def test_the_guard_is_the_longest_prefix_around_all_of_them(
    ips: tuple[str, ...], cidrs: tuple[str, ...], guard: str
) -> None:
    services = [service(f"web{number}", ip=ip) for number, ip in enumerate(ips)]
    assert config(world(*services, cidrs=cidrs)).guard == prefix(guard)


def test_other_addresses_of_services_are_not_guarded() -> None:
    outside = service(external_ips=(parse_address("198.51.100.9"),))
    tables = rows(world(outside))
    assert tables.config[CONFIG_KEY].guard == prefix("10.96.0.1/32")
    flags = {format_address(key.address): row.flags for key, row in tables.frontends.items() if not key.port}
    assert flags == {"10.96.0.1": FrontendFlag.CLUSTER_ADDRESS, "198.51.100.9": FrontendFlag(0)}


def test_the_guard_covers_the_services_whose_rows_are_kept() -> None:
    kept = rows(world(service(ip="10.200.0.1")))
    found = compile_tables(world(), V4, Allocation.from_tables(kept, 0), ROOMY, kept).tables
    assert found.config[CONFIG_KEY].guard == prefix("10.200.0.1/32")


# -- prefixes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mask", "inside", "outside"),
    [
        ("10.96.0.0/16", "255.255.0.0", ("10.96.0.0", "10.96.255.255"), ("10.95.255.255", "10.97.0.0", "::a60:1")),
        ("10.96.0.1/32", "255.255.255.255", ("10.96.0.1",), ("10.96.0.0", "10.96.0.2")),
        ("0.0.0.0/0", "0.0.0.0", ("0.0.0.0", "255.255.255.255"), ("::",)),
        ("fd00::/8", "ff00::", ("fdff::1",), ("fe00::", "253.0.0.0")),
        ("::/0", "::", ("::", "ffff::"), ("0.0.0.0",)),
    ],
)
def test_a_prefix_contains_what_its_mask_leaves_alone(
    text: str, mask: str, inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    assert prefix(text).mask == parse_address(mask)
    assert all(prefix(text).contains(parse_address(each)) for each in inside)
    assert not any(prefix(text).contains(parse_address(each)) for each in outside)


# -- pods that can be handed packets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", Family)
def test_a_device_that_nobody_is_passed_by_at_says_so(family: Family) -> None:
    devices = (Device(4, "pod4", (), serves_pods=True, is_direct=True), Device(5, "pod5", (), serves_pods=True))
    found = rows(world(host=replace(HOST, devices=devices)), family).devices
    assert [DeviceFlag.DIRECT in found[ifindex].flags for ifindex in (4, 5)] == [True, False]
