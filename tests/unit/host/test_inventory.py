from ipaddress import ip_address

import pytest

from ebpflb.core.model import Device
from ebpflb.host.inventory import Address, AddressKey, DeviceRole, Inventory, Link, RolePatterns

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
    ],
)
def test_roles(link: Link, role: DeviceRole | None) -> None:
    assert PATTERNS.role_of(link) is role


def test_addresses_stand_by_rank() -> None:
    inventory = Inventory(PATTERNS)
    inventory.put_link(Link(2, "eth0"))
    for address in (
        Address(key(2, "10.0.0.4"), created=4),
        Address(key(2, "10.0.0.1"), deprecated=True, created=1),
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
    ranked = tuple(ip_address(f"10.0.0.{last}").packed for last in (3, 4, 2, 1))
    assert host.devices == (Device(2, "eth0", ranked),)
    assert host.addresses == {ip_address(f"10.0.0.{last}").packed for last in (1, 2, 3, 4, 5, 7)}


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
