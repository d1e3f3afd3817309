from collections.abc import Collection
from ipaddress import ip_address

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.model import Device
from ebpflb.host.inventory import Address, AddressKey, Inventory
from ebpflb.host.links import DeviceRole, Link, LinkHeader, RolePatterns

PATTERNS = RolePatterns(uplinks=("eth*", "ens?"), pods=("veth*", "eth0", "br*", "lo"))


def key(ifindex: int, text: str) -> AddressKey:
    packed = ip_address(text).packed
    return AddressKey(ifindex, packed, packed, 24)


@pytest.mark.parametrize(
    ("link", "role"),
    [
        (Link(1, "eth0"), DeviceRole.UPLINK),
        (Link(2, "ens3"), DeviceRole.UPLINK),
        (Link(3, "ens33"), None),
        (Link(4, "veth12", "veth"), DeviceRole.POD),
        (Link(5, "br0", "bridge"), None),
        (Link(5, "br1", "openvswitch"), None),
        (Link(6, "br-looks-like-one", "veth"), DeviceRole.POD),
        (Link(7, "eth-bridge", "bridge"), DeviceRole.UPLINK),
        (Link(8, "lo", loopback=True), None),
        (Link(9, "ETH0"), None),
        (Link(10, "eth-wg", "wireguard", header=LinkHeader.NONE), DeviceRole.UPLINK),
        (Link(10, "eth-ib", "ipoib", header=LinkHeader.OTHER), None),
        (Link(11, "eth1", port_of="bond"), None),
        (Link(12, "eth2", port_of="bridge"), DeviceRole.UPLINK),
        (Link(13, "veth3", "veth", port_of="bridge"), DeviceRole.POD),
    ],
)
def test_roles(link: Link, role: DeviceRole | None) -> None:
    assert PATTERNS.role_of(link) is role


def test_addresses_stand_by_rank() -> None:
    inventory = Inventory(PATTERNS)
    inventory.put_link(Link(2, "eth0"))
    for address in (
        Address(key(2, "10.0.0.4"), created=4),
        Address(key(2, "10.0.0.1"), deprecated=True),
        Address(key(2, "10.0.0.2"), secondary=True, created=2),
        Address(key(2, "10.0.0.3"), created=3),
        Address(key(2, "10.0.0.5"), is_global=False),
        Address(key(2, "10.0.0.6"), usable=False),
        Address(key(3, "10.0.0.7")),
        Address(key(1, "127.0.0.1")),
        Address(key(1, "::1")),
    ):
        inventory.put_address(address)
    host = inventory.host()
    ranked = tuple(ip_address(f"10.0.0.{last}").packed for last in (3, 4, 2))
    assert host.devices == (Device(2, "eth0", ranked),)
    assert host.addresses == {ip_address(f"10.0.0.{last}").packed for last in (1, 2, 3, 4, 5, 7)}


BRIDGE, ETH, VETH, TUN = Link(9, "cni0", "bridge", mtu=1450), Link(2, "eth0"), "veth", "tun"


def pods_of(*links: Link, patterns: RolePatterns = PATTERNS, unserved: Collection[int] = ()) -> list[str]:
    """The devices by which pods are reached; the others are uplinks, and come first."""
    inventory = Inventory(patterns, unserved=unserved)
    for link in links:
        inventory.put_link(link)
    devices = inventory.host().devices
    assert [device.serves_pods for device in devices] == sorted(device.serves_pods for device in devices)
    return [device.name for device in devices if device.serves_pods]


def port(ifindex: int, name: str, kind: str = "veth", *, of: Link = BRIDGE) -> Link:
    return Link(ifindex, name, kind, port_of=of.kind, master=of.ifindex)


def test_pods_devices_are_listed_behind_the_uplinks_with_what_they_have_themselves() -> None:
    inventory = Inventory(PATTERNS)
    for link in (Link(1, "veth1", "veth", mtu=1400), BRIDGE, port(5, "veth5"), Link(7, "eth0")):
        inventory.put_link(link)
    for address in (Address(key(7, "10.0.0.1")), Address(key(9, "10.244.1.1")), Address(key(9, "fd00::1"))):
        inventory.put_address(address)
    inventory.put_address(Address(key(5, "fe80::5"), is_global=False))
    packed = [ip_address(text).packed for text in ("10.0.0.1", "10.244.1.1", "fd00::1")]
    assert inventory.host().devices == (
        Device(7, "eth0", (packed[0],)),
        Device(1, "veth1", (), 1400, serves_pods=True),
        Device(5, "veth5", (), serves_pods=True, master="cni0"),
        Device(9, "cni0", (packed[1], packed[2]), 1450, serves_pods=True),
    )


def test_a_bridge_leads_to_pods_while_all_of_them_are_seen() -> None:
    assert pods_of(ETH, BRIDGE, port(3, "veth3"), port(4, "veth4")) == ["veth3", "veth4", "cni0"]
    assert pods_of(ETH, BRIDGE, Link(3, "veth3", VETH)) == ["veth3"], "it has no port"
    assert pods_of(ETH, BRIDGE, port(2, "eth0", "")) == [], "it joins uplinks"
    assert pods_of(ETH, BRIDGE, port(3, "veth3"), port(2, "eth0", "")) == ["veth3", "cni0"], "it joins both"
    assert pods_of(ETH, BRIDGE, port(3, "veth3"), port(4, "tap4", TUN)) == ["veth3"], "a virtual machine is not seen"
    assert pods_of(ETH, BRIDGE, port(3, "veth3"), port(4, "other4")) == ["veth3"], "a pod is not seen"
    assert pods_of(ETH, BRIDGE, port(3, "veth3"), port(4, "vxlan4", "vxlan")) == ["veth3", "cni0"], "no pod is there"


def test_a_pod_s_device_without_its_programs_is_no_way_to_it_nor_is_its_bridge() -> None:
    links = (ETH, BRIDGE, port(3, "veth3"), port(4, "veth4"), Link(5, "veth5", VETH))
    assert pods_of(*links, unserved={4}) == ["veth3", "veth5"]
    assert pods_of(*links, unserved={5}) == ["veth3", "veth4", "cni0"]
    assert pods_of(ETH, BRIDGE, port(3, "veth3"), port(2, "eth0", ""), unserved={2}) == ["veth3"]


def test_a_bridge_of_pods_that_is_named_as_uplink_stays_one() -> None:
    patterns = RolePatterns(uplinks=("cni*",), pods=("veth*",))
    assert pods_of(BRIDGE, port(3, "veth3"), patterns=patterns) == ["veth3"]


def test_the_devices_of_open_vswitch_share_one_master() -> None:
    system, internal = Link(20, "ovs-system", "openvswitch"), Link(21, "br-int", "openvswitch")
    assert pods_of(system, internal, port(3, "veth3", of=system)) == ["veth3", "ovs-system", "br-int"]
    assert pods_of(system, internal, port(3, "genev_sys_6081", "geneve", of=system)) == []
    assert pods_of(system, internal, port(3, "veth3"), BRIDGE) == ["veth3", "cni0"]


def test_a_port_that_joins_a_bridge_makes_another_host() -> None:
    inventory = Inventory(PATTERNS)
    inventory.put_link(BRIDGE)
    inventory.put_link(Link(3, "veth3", VETH))
    before = inventory.host()
    inventory.put_link(port(3, "veth3"))
    after = inventory.host()
    assert before != after == inventory.host()
    assert [(device.name, device.master) for device in after.devices] == [("veth3", "cni0"), ("cni0", "")]
    inventory.drop_link(9)
    assert [(device.name, device.master) for device in inventory.host().devices] == [("veth3", "")]
    inventory.drop_link(3)
    assert inventory.host().devices == ()


def test_warnings_for_whoever_chose_the_patterns() -> None:
    inventory = Inventory(RolePatterns(uplinks=("eth*", "wg*", "flannel.*"), pods=("br*", "cali*")))
    assert list(inventory.warnings([Family.IPV4])) == [
        "no device matches --uplink-devices eth*",
        "no device matches --uplink-devices wg*",
        "no device matches --uplink-devices flannel.*",
        "no device matches --pod-devices br*",
        "no device matches --pod-devices cali*",
    ]
    inventory.put_link(Link(1, "eth0"))
    inventory.put_link(Link(2, "wg0", "ipoib", header=LinkHeader.OTHER))
    inventory.put_link(Link(3, "br0", "bridge"))
    inventory.put_link(Link(4, "eth1"))
    inventory.put_address(Address(key(1, "10.0.0.1")))
    inventory.put_address(Address(key(2, "10.0.0.2")))
    inventory.put_address(Address(key(4, "fd00::4")))
    assert list(inventory.warnings([Family.IPV4])) == [
        "no device matches --uplink-devices flannel.*",
        "no device matches --pod-devices br*",
        "no device matches --pod-devices cali*",
        "device wg0 has a link header that is not served: neither Ethernet nor none",
    ]
    assert [device.name for device in inventory.host().devices] == ["eth0", "eth1"]
    inventory.drop_address(key(1, "10.0.0.1"))
    assert list(inventory.warnings([Family.IPV4, Family.IPV6]))[-1] == (
        "no uplink has a global IPv4 address: IPv4 is served but where it had to be masqueraded"
    )


def test_an_overlay_device_without_addresses_masquerades_with_those_of_another_uplink() -> None:
    inventory = Inventory(RolePatterns(uplinks=("vxlan*", "eth*")))
    inventory.put_link(Link(1, "lo", loopback=True))
    inventory.put_link(Link(2, "vxlan0", "vxlan"))
    inventory.put_link(Link(3, "eth0"))
    inventory.put_address(Address(key(1, "127.0.0.1"), is_global=False))
    inventory.put_address(Address(key(1, "192.0.2.1")))
    inventory.put_address(Address(key(2, "fe80::2"), is_global=False))
    inventory.put_address(Address(key(3, "10.0.0.3")))
    inventory.put_address(Address(key(3, "2001:db8::4"), usable=False))
    assert sources(inventory) == {"vxlan0": ["10.0.0.3"], "eth0": ["10.0.0.3"]}
    inventory.put_address(Address(key(3, "2001:db8::3"), secondary=True))
    assert sources(inventory) == {"vxlan0": ["10.0.0.3", "2001:db8::3"], "eth0": ["10.0.0.3", "2001:db8::3"]}
    inventory.put_address(Address(key(2, "10.244.1.0")))
    assert sources(inventory)["vxlan0"] == ["10.244.1.0", "2001:db8::3"]


def test_where_no_uplink_has_an_address_loopback_lends_its_own() -> None:
    inventory = Inventory(RolePatterns(uplinks=("eth*",)))
    inventory.put_link(Link(1, "lo", loopback=True))
    inventory.put_link(Link(3, "eth0"))
    inventory.put_link(Link(4, "other0"))
    inventory.put_address(Address(key(4, "10.0.0.4")))
    assert sources(inventory) == {"eth0": []}
    inventory.put_address(Address(key(1, "2001:db8::1")))
    assert sources(inventory) == {"eth0": ["2001:db8::1"]}


def sources(inventory: Inventory) -> dict[str, list[str]]:
    return {device.name: [str(ip_address(each)) for each in device.addresses] for device in inventory.host().devices}


def test_a_link_takes_its_addresses_along() -> None:
    inventory = Inventory(PATTERNS)
    inventory.put_link(Link(2, "eth0"))
    inventory.put_link(Link(3, "veth0"))
    inventory.put_address(Address(key(2, "10.0.0.1")))
    inventory.put_address(Address(key(3, "10.0.0.2")))
    assert inventory.roles() == {2: DeviceRole.UPLINK, 3: DeviceRole.POD}
    inventory.drop_link(2)
    inventory.drop_link(99)
    assert inventory.roles() == {3: DeviceRole.POD}
    assert set(inventory.addresses) == {key(3, "10.0.0.2")}
    inventory.drop_address(key(3, "10.0.0.2"))
    inventory.drop_address(key(3, "10.0.0.2"))
    assert inventory.host().addresses == frozenset()


def test_uplinks_tell_their_mtu_and_whether_xdp_may_send_by_them() -> None:
    inventory = Inventory(RolePatterns(uplinks=("eth*",)))
    inventory.put_link(Link(3, "eth0", mtu=9000))
    inventory.put_link(Link(4, "eth1"))
    inventory.xdp_targets = {4}
    assert [(device.name, device.mtu, device.supports_xdp) for device in inventory.host().devices] == [
        ("eth0", 9000, False),
        ("eth1", 1500, True),
    ]


def test_devices_tell_whether_their_pod_can_be_handed_packets() -> None:
    inventory = Inventory(RolePatterns(pods=("pod*",)))
    inventory.put_link(Link(3, "pod3"))
    inventory.put_link(Link(4, "pod4"))
    inventory.direct_pods = {4}
    assert [(device.name, device.is_direct) for device in inventory.host().devices] == [("pod3", False), ("pod4", True)]
