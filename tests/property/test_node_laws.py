"""Laws of the node's own rows: they mean what the reference says, whatever the configuration."""

from ipaddress import ip_network

from hypothesis import given

from ebpflb.core.abi import ConfigFlag, DeviceFlag, Family, FrontendFlag, FrontendKind, NodeAddrFlag
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.model import Snapshot
from ebpflb.core.options import Options
from ebpflb.core.tables import Prefix, Tables
from tests.property import node_reference as reference
from tests.property.reference import Network, meaning
from tests.property.strategies import ROOMY, families, options, snapshots


def compiled(snapshot: Snapshot, family: Family, configured: Options) -> Tables:
    return compile_tables(snapshot, family, Allocation(), ROOMY, options=configured).tables


def network(prefix: Prefix) -> Network:
    return ip_network((prefix.address, prefix.length))


@given(snapshots(), families, options)
def test_node_ports_hold_where_the_reference_says(snapshot: Snapshot, family: Family, configured: Options) -> None:
    tables = compiled(snapshot, family, configured)
    assert tables.node_addrs.keys() == {
        address for address in snapshot.host.addresses if len(address) == family.address_bytes
    }
    assert {each for each, flags in tables.node_addrs.items() if flags & NodeAddrFlag.NODE_PORTS} == (
        reference.node_port_addresses(snapshot, family, configured)
    )
    on_loopback = bool(tables.config[0].flags & ConfigFlag.LOOPBACK_NODE_PORTS)
    assert on_loopback is reference.loopback_has_node_ports(family, configured)


@given(snapshots(), families, options)
def test_pods_are_known_by_what_the_reference_says(snapshot: Snapshot, family: Family, configured: Options) -> None:
    tables = compiled(snapshot, family, configured)
    row = tables.config[0]
    by_network = network(row.pods) if row.flags & ConfigFlag.DETECT_BY_NETWORK else None
    assert by_network == reference.pod_network(snapshot, family, configured)
    by_device = configured.detect_local in {"BridgeInterface", "InterfaceNamePrefix"}
    assert bool(row.flags & ConfigFlag.DETECT_BY_DEVICE) is by_device
    assert bool(row.flags & ConfigFlag.MASQUERADE_ALL) is configured.masquerade_all
    for device in snapshot.host.devices:
        flags = tables.devices[device.ifindex].flags
        assert bool(flags & DeviceFlag.POD_SOURCE) is reference.is_pod_source(device, configured)
        assert bool(flags & DeviceFlag.PODS) is device.serves_pods
        assert bool(flags & DeviceFlag.XDP) is device.supports_xdp


@given(snapshots(), families, options)
def test_devices_masquerade_with_what_the_reference_says(
    snapshot: Snapshot, family: Family, configured: Options
) -> None:
    tables = compiled(snapshot, family, configured)
    assert {ifindex: row.snat_address for ifindex, row in tables.devices.items()} == {
        device.ifindex: reference.masquerade_source(device, snapshot, family, configured)
        for device in snapshot.host.devices
    }


@given(snapshots(), families, options)
def test_what_is_guarded_is_what_the_reference_says(snapshot: Snapshot, family: Family, configured: Options) -> None:
    tables = compiled(snapshot, family, configured)
    expected = meaning(snapshot, family, configured)
    cidrs = {
        each
        for ranges in snapshot.service_cidrs.values()
        for each in map(ip_network, ranges.cidrs)
        if each.version == family
    }
    assert set(map(network, tables.service_cidrs)) == cidrs
    around = reference.guard(expected, cidrs)
    if around is not None:
        assert network(tables.config[0].guard) == around
    assert {
        key.address
        for key, row in tables.frontends.items()
        if row.kind is FrontendKind.ADDRESS and row.flags & FrontendFlag.CLUSTER_ADDRESS
    } == reference.cluster_addresses(expected, snapshot)
