"""Decides which backends the node's own stack delivers to: no SNAT, no redirect.

Knows this node's addresses and pod networks; knows nothing of policies. An endpoint's ``nodeName`` decides whether it
counts as local for a traffic policy (``expand.py``); but endpoints without one are also reached here: the API server
on a control-plane node (``default/kubernetes`` names no node), pods in slices that people write by hand.

    Node, Host --Placement.of--> is_here(address)
"""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Self

from ebpflb.core.abi import Family
from ebpflb.core.model import Host, Node


@dataclass(frozen=True, slots=True)
class Placement:
    """What of one family is on this node."""

    addresses: frozenset[bytes]
    networks: tuple[tuple[int, int], ...]
    """Network and mask of each pod CIDR of this node, as integers."""

    @classmethod
    def of(cls, node: Node, host: Host, family: Family) -> Self:
        """Return what the Node object and netlink say of this node."""
        networks = [ip_network(cidr, strict=False) for cidr in node.pod_cidrs]
        return cls(
            frozenset(address for address in host.addresses if len(address) == family.address_bytes),
            tuple((int(net.network_address), int(net.netmask)) for net in networks if net.version == family.value),
        )

    def is_here(self, address: bytes) -> bool:
        """Return whether the stack of this node delivers packets to this address by itself."""
        if address in self.addresses:
            return True
        number = int.from_bytes(address)
        for network, mask in self.networks:  # noqa: SIM110 - asked of each backend: a generator costs three times that
            if number & mask == network:
                return True
        return False
