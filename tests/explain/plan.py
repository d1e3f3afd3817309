"""Where everything of a random cluster has its address: names and pools, nothing random.

Two families side by side: ``pool[4]`` and ``pool[6]`` are alike.
"""

from dataclasses import dataclass
from typing import Final

NODE: Final = "n1"
NODES: Final = ("n1", "n2", "n3")
ZONES: Final = ("a", "b", "c")
BRIDGE: Final = "cni0"
POD_DEVICES: Final = ("veth1a2b", "vethffff")
OTHER_DEVICES: Final = ("eth0", "bond1")


@dataclass(frozen=True)
class Pool:
    """The addresses of one family."""

    primary: str
    """InternalIP of the node under test."""
    second: str
    """Its ExternalIP."""
    extra: tuple[str, ...]
    """Further local addresses: an ordinary one, one in its pods' network, a load balancer's, one in a ServiceCIDR."""
    loopback: str
    cluster_cidr: str
    pod_cidr: str
    pod: str
    """Format: number of the node, of the pod."""
    cluster_ip: str
    """Format: number."""
    service_cidrs: tuple[str, ...]
    second_range_ip: str
    """Format: number; of the second ServiceCIDR."""
    unused: tuple[str, ...]
    vip: str
    external: str
    client: str
    node_ranges: tuple[tuple[str, ...], ...]
    """What nodePortAddresses may say of the family."""
    source_ranges: tuple[str, ...]
    strangers: tuple[str, ...]
    """Destinations that are nobody's."""


POOLS: Final = {
    4: Pool(
        primary="192.0.2.1",
        second="198.51.100.1",
        extra=("192.0.2.101", "10.244.1.1", "203.0.113.1", "10.96.9.8"),
        loopback="127.0.0.1",
        cluster_cidr="10.244.0.0/16",
        pod_cidr="10.244.1.0/24",
        pod="10.244.{}.{}",
        cluster_ip="10.96.0.{}",
        service_cidrs=("10.96.0.0/16", "10.100.0.0/24"),
        second_range_ip="10.100.0.{}",
        unused=("10.96.9.9", "10.96.9.8", "10.100.0.250"),
        vip="203.0.113.{}",
        external="198.18.0.{}",
        client="100.64.0.{}",
        node_ranges=(("192.0.2.0/24",), ("198.51.100.1/32", "127.0.0.0/8"), ("0.0.0.0/0", "192.0.2.0/24"), ()),
        source_ranges=("100.64.0.0/28", "192.0.2.0/24", "10.244.0.0/16", " 100.64.0.9/32 ", "203.0.113.0/24"),
        strangers=("8.8.8.8", "192.0.2.77"),
    ),
    6: Pool(
        primary="2001:db8::1",
        second="2001:db8:1::1",
        extra=("2001:db8::101", "fd00:244:1::1", "2001:db8:f::1", "fd00:96::9998"),
        loopback="::1",
        cluster_cidr="fd00:244::/32",
        pod_cidr="fd00:244:1::/48",
        pod="fd00:244:{}::{:x}",
        cluster_ip="fd00:96::{:x}",
        service_cidrs=("fd00:96::/64", "fd00:100::/112"),
        second_range_ip="fd00:100::{:x}",
        unused=("fd00:96::9999", "fd00:96::9998", "fd00:100::9999"),
        vip="2001:db8:f::{:x}",
        external="2001:db8:e::{:x}",
        client="2001:db8:c::{:x}",
        node_ranges=(("2001:db8::/64",), ("2001:db8:1::1/128", "::1/128"), ("::/0",), ()),
        source_ranges=("2001:db8:c::/124", "2001:db8::/64", "fd00:244::/32", " 2001:db8:c::9/128 ", "2001:db8:f::/64"),
        strangers=("2001:4860::8888", "2001:db8::77"),
    ),
}
