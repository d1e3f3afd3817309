"""Decides the rows that are the node's own: its addresses and devices, and what holds for every Service there.

Knows netlink's facts, the Node object and the configuration; of Services only where their ClusterIPs are.

    Snapshot, Options, bounds of the ClusterIPs --node_rows--> node_addrs, devices, opt_outs, service_cidrs, config
"""

from collections.abc import Iterable, Iterator, Mapping

from ebpflb.core.abi import ConfigFlag, DeviceFlag, Family, FrontendKind, NodeAddrFlag
from ebpflb.core.model import Device, Host, Node, Snapshot, family_of
from ebpflb.core.options import PRIMARY, DetectLocal, Options
from ebpflb.core.primary import primary_addresses
from ebpflb.core.source_ranges import parse_prefix
from ebpflb.core.tables import CONFIG_KEY, ConfigRow, DeviceRow, Frontend, FrontendKey, Prefix, TableName, Tables

_LOOPBACK = {Family.IPV4: Prefix(bytes([127, 0, 0, 0]), 8), Family.IPV6: Prefix(bytes(15) + b"\1", 128)}


NODE_TABLES = (
    *(TableName.NODE_ADDRS, TableName.DEVICES, TableName.OPT_OUTS, TableName.SERVICE_CIDRS, TableName.CONFIG),
)

Bounds = tuple[bytes, bytes] | None
"""The lowest and the highest ClusterIP; ``None``: there is none."""


def bounds_of(frontends: Mapping[FrontendKey, Frontend]) -> Bounds:
    """Return between which addresses the ClusterIPs lie."""
    addresses = [key.address for key, row in frontends.items() if row.kind is FrontendKind.CLUSTER_IP]
    return (min(addresses), max(addresses)) if addresses else None


def wider(one: Bounds, other: Bounds) -> Bounds:
    """Return what covers both."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def node_rows(snapshot: Snapshot, family: Family, bounds: Bounds, options: Options) -> Tables:
    """Return tables that hold the node's own rows and nothing else. ``bounds``: of the ClusterIPs."""
    node, host = snapshot.node, snapshot.host
    cidrs = [cidr for each in snapshot.service_cidrs.values() for cidr in _of_family(each.cidrs, family)]
    return Tables(
        family,
        node_addrs=_node_addrs(node, host, family, options),
        devices={each.ifindex: _device_row(each, node, host, family, options) for each in host.devices},
        opt_outs=dict.fromkeys(sorted(host.opt_outs), 0),
        service_cidrs=dict.fromkeys(sorted(set(cidrs)), 0),
        config={CONFIG_KEY: _config(node, family, _guard(family, bounds, cidrs), options)},
    )


def _node_addrs(node: Node, host: Host, family: Family, options: Options) -> dict[bytes, NodeAddrFlag]:
    prefixes = node_port_prefixes(node, family, options)
    return {
        address: NodeAddrFlag.NODE_PORTS if any(each.contains(address) for each in prefixes) else NodeAddrFlag(0)
        for address in sorted(host.addresses)
        if len(address) == family.address_bytes
    }


def node_port_prefixes(node: Node, family: Family, options: Options) -> list[Prefix]:
    """Return where NodePorts hold. A node of which no address is known, as a folder without a Node leaves it, has no
    first one: there they hold everywhere, unless ``primary`` is asked for in so many words.
    """
    everywhere = [Prefix(bytes(family.address_bytes), 0)]
    if not _asks_for_primary(options):
        return _of_family(options.node_port_addresses, family) or everywhere
    if not (options.node_port_addresses or node.addresses or options.node_ips):
        return everywhere
    return [Prefix(address, 8 * len(address)) for address in primary_addresses(node, family, options)]


def _asks_for_primary(options: Options) -> bool:
    return options.node_port_addresses in {(), (PRIMARY,)}


def _device_row(device: Device, node: Node, host: Host, family: Family, options: Options) -> DeviceRow:
    """Return a device's row. Pods' devices often have no address: packets to a pod leave with the node's first one."""
    flags = DeviceFlag.XDP if device.supports_xdp else DeviceFlag(0)
    if _comes_from_pods(device, options):
        flags |= DeviceFlag.POD_SOURCE
    sources = [address for address in device.addresses if len(address) == family.address_bytes]
    if device.is_direct:
        flags |= DeviceFlag.DIRECT
    if device.serves_pods:
        if options.masquerade_local_pods:
            flags |= DeviceFlag.PODS
        sources += [each for each in primary_addresses(node, family, options) if each in host.addresses]
        sources += _uplink_sources(host, family)
    return DeviceRow(next(iter(sources), bytes(family.address_bytes)), device.mtu, flags)


def _uplink_sources(host: Host, family: Family) -> Iterator[bytes]:
    for device in host.devices:
        if not device.serves_pods:
            yield from (address for address in device.addresses if len(address) == family.address_bytes)


def _comes_from_pods(device: Device, options: Options) -> bool:
    names = tuple(filter(None, (device.name, device.master)))
    if options.detect_local is DetectLocal.BRIDGE_INTERFACE:
        return options.pod_interface in names
    if options.detect_local is DetectLocal.INTERFACE_NAME_PREFIX:
        return any(name.startswith(options.pod_interface) for name in names)
    return False


def _config(node: Node, family: Family, guard: Prefix, options: Options) -> ConfigRow:
    flags = ConfigFlag.WRITTEN
    pods = Prefix(bytes(family.address_bytes), 0)
    if options.masquerade_all:
        flags |= ConfigFlag.MASQUERADE_ALL
    if _loopback_has_node_ports(family, options):
        flags |= ConfigFlag.LOOPBACK_NODE_PORTS
    if options.detect_local in {DetectLocal.BRIDGE_INTERFACE, DetectLocal.INTERFACE_NAME_PREFIX}:
        flags |= ConfigFlag.DETECT_BY_DEVICE
    else:
        by_node = options.detect_local is DetectLocal.NODE_CIDR
        networks = _of_family(node.pod_cidrs if by_node else options.cluster_cidrs, family)
        if networks:
            flags |= ConfigFlag.DETECT_BY_NETWORK
            pods = networks[0]
    return ConfigRow(flags, pods, guard)


def _loopback_has_node_ports(family: Family, options: Options) -> bool:
    if not options.localhost_node_ports or not options.node_port_addresses:
        return options.localhost_node_ports
    if _asks_for_primary(options):
        return False
    prefixes = _of_family(options.node_port_addresses, family)
    loopback = _LOOPBACK[family]
    return not prefixes or any(each.contains(loopback.address) or loopback.contains(each.address) for each in prefixes)


def _guard(family: Family, cluster_ips: Bounds, cidrs: Iterable[Prefix]) -> Prefix:
    """Return the longest prefix that covers every ClusterIP and every ServiceCIDR; one that nobody has if there is
    none.
    """
    bounds = [*(cluster_ips or ())]
    for cidr in cidrs:
        bounds += [cidr.address, _last(cidr)]
    bits = 8 * family.address_bytes
    if not bounds:
        return Prefix(bytes(family.address_bytes), bits)
    low, high = int.from_bytes(min(bounds)), int.from_bytes(max(bounds))
    length = bits - (low ^ high).bit_length()
    return Prefix((low >> (bits - length) << (bits - length)).to_bytes(family.address_bytes), length)


def _last(prefix: Prefix) -> bytes:
    host_bits = 8 * len(prefix.address) - prefix.length
    return (int.from_bytes(prefix.address) | (1 << host_bits) - 1).to_bytes(len(prefix.address))


def _of_family(texts: Iterable[str], family: Family) -> list[Prefix]:
    parsed = (parse_prefix(text) for text in texts)
    return [prefix for prefix in parsed if prefix is not None and family_of(prefix.address) is family]
