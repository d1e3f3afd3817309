"""Decides which addresses count as the node's first: those of NodePorts, and of who may use a load-balancer address.

Knows the Node object and the configuration; knows nothing of netlink, nor of what follows from it.

    Node, Options --primary_addresses--> addresses of one family --> source_ranges, node_rows
"""

from ebpflb.core.abi import Family
from ebpflb.core.model import Node, family_of
from ebpflb.core.options import Options


def primary_addresses(node: Node, family: Family, options: Options) -> list[bytes]:
    """Return the addresses of one family that count as the node's first: what it was told, else its Node object's."""
    told = [address for address in options.node_ips if family_of(address) is family]
    return told or [address for address in node.addresses if family_of(address) is family][:1]
