"""Decodes the maps that the control plane writes of the node itself: its addresses, its devices and its settings.

Pure but for the names of devices: typed rows in, plain rows out, sorted. Must not know how a row is printed.

    Tables -> list[Row]
"""

from collections.abc import Callable, Mapping
from socket import if_indextoname

from ebpflb.cli.words import Row, words
from ebpflb.core.abi import ConfigFlag
from ebpflb.core.model import format_address
from ebpflb.core.tables import Prefix, Tables


def decode_opt_outs(tables: Tables) -> list[Row]:
    """Return the network namespaces whose sockets are left to the packet hooks."""
    return [{"netns_cookie": cookie} for cookie in sorted(tables.opt_outs)]


def decode_service_cidrs(tables: Tables) -> list[Row]:
    """Return the ranges that ClusterIPs are taken from: what is sent to an unused address of them is dropped."""
    return [{"range": _prefix(each)} for each in sorted(tables.service_cidrs)]


def decode_config(tables: Tables) -> list[Row]:
    """Return what holds for every Service of this node."""
    return [
        {
            "flags": words(row.flags & ~ConfigFlag.WRITTEN),
            "pods": _prefix(row.pods) if ConfigFlag.DETECT_BY_NETWORK in row.flags else None,
            "guard": _prefix(row.guard),
        }
        for row in tables.config.values()
    ]


def decode_node_addrs(tables: Tables) -> list[Row]:
    """Return this node's addresses, and at which of them NodePorts are served."""
    return [
        {"address": format_address(address), "flags": words(flags)}
        for address, flags in sorted(tables.node_addrs.items())
    ]


def decode_devices(tables: Tables, name_of: Callable[[int], str] = if_indextoname) -> list[Row]:
    """Return the devices that packets may leave by; their names are those of this network namespace."""
    return [
        {
            "ifindex": ifindex,
            "device": _device_name(ifindex, name_of),
            "snat_address": _address_or_none(device.snat_address),
            "mtu": device.mtu,
            "flags": words(device.flags),
        }
        for ifindex, device in sorted(tables.devices.items())
    ]


NODE_MAPS: Mapping[str, Callable[[Tables], list[Row]]] = {
    "opt_outs": decode_opt_outs,
    "service_cidrs": decode_service_cidrs,
    "config": decode_config,
    "node_addrs": decode_node_addrs,
    "devices": decode_devices,
}
"""By the map's name."""


def _prefix(prefix: Prefix) -> str:
    return f"{format_address(prefix.address)}/{prefix.length}"


def _device_name(ifindex: int, name_of: Callable[[int], str]) -> str | None:
    try:
        return name_of(ifindex)
    except OSError:
        return None


def _address_or_none(address: bytes) -> str | None:
    return format_address(address) if any(address) else None
