"""What holds for every Service of a node, written again from the rules and not from ``ebpflb.core``."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ebpflb.core.abi import Family, FrontendKind
from ebpflb.core.model import Device, Snapshot
from ebpflb.core.options import Options
from ebpflb.core.tables import FrontendKey
from tests.property.reference import Meaning, Network, first_addresses


def cluster_addresses(found: dict[FrontendKey, Meaning], snapshot: Snapshot) -> set[bytes]:
    """The addresses where whatever is no frontend is refused: ClusterIPs that are not the node's own."""
    cluster_ips = {key.address for key, each in found.items() if each.kind == FrontendKind.CLUSTER_IP}
    return cluster_ips - snapshot.host.addresses


def node_port_addresses(snapshot: Snapshot, family: Family, options: Options) -> set[bytes]:
    """The node's addresses where NodePorts hold."""
    here = {address for address in snapshot.host.addresses if ip_address(address).version == family}
    if options.node_port_addresses in ((), ("primary",)):
        if snapshot.node.addresses or options.node_ips or options.node_port_addresses:
            return {each for each in here if ip_address(each) in first_addresses(snapshot, family, options)}
        return here
    asked = of_family(options.node_port_addresses, family)
    return {each for each in here if not asked or any(ip_address(each) in network for network in asked)}


def loopback_has_node_ports(family: Family, options: Options) -> bool:
    if not options.localhost_node_ports or options.node_port_addresses == ("primary",):
        return False
    asked = of_family(options.node_port_addresses, family)
    loopback = ip_network("127.0.0.0/8" if family == Family.IPV4 else "::1/128")
    return not asked or any(network.overlaps(loopback) for network in asked)


def pod_network(snapshot: Snapshot, family: Family, options: Options) -> Network | None:
    """By which sources a pod is known; ``None``: not by its source."""
    by_mode = {"ClusterCIDR": options.cluster_cidrs, "NodeCIDR": snapshot.node.pod_cidrs}
    known = of_family(by_mode.get(options.detect_local, ()), family)
    return known[0] if known else None


def is_pod_source(device: Device, options: Options) -> bool:
    if options.detect_local == "BridgeInterface":
        return options.pod_interface in (device.name, device.master)
    if options.detect_local == "InterfaceNamePrefix":
        return device.name.startswith(options.pod_interface) or device.master.startswith(options.pod_interface)
    return False


def masquerade_source(device: Device, snapshot: Snapshot, family: Family, options: Options) -> bytes:
    """Own addresses, best first; to pods also the node's first one, if it has it, and what uplinks have."""
    choice = [address for address in device.addresses if ip_address(address).version == family]
    if device.serves_pods:
        told = [each for each in options.node_ips if ip_address(each).version == family]
        own = told or [each for each in snapshot.node.addresses if ip_address(each).version == family][:1]
        choice += [each for each in own if each in snapshot.host.addresses]
        for uplink in snapshot.host.devices:
            if not uplink.serves_pods:
                choice += [address for address in uplink.addresses if ip_address(address).version == family]
    return choice[0] if choice else bytes(4 if family == Family.IPV4 else 16)


def guard(found: dict[FrontendKey, Meaning], cidrs: set[Network]) -> Network | None:
    """Grown one bit at a time from the first until it covers all."""
    covered = [ip_network(key.address) for key, each in found.items() if each.kind == FrontendKind.CLUSTER_IP]
    covered += cidrs
    if not covered:
        return None
    grown = covered[0]
    while not all(is_within(each, grown) for each in covered):
        grown = grown.supernet()
    return grown


def is_within(inner: Network, outer: Network) -> bool:
    return inner[0] in outer and inner[-1] in outer


def of_family(texts: tuple[str, ...], family: Family) -> list[IPv4Network | IPv6Network]:
    return [each for each in map(ip_network, texts) if each.version == family]
