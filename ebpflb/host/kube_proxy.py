"""Looks for another service proxy's rules: what ebpflb has translated passes them by, what it leaves alone may not.

Only reads; decides what counts as a trace. Must not know how to remove it: the remedy names kube-proxy's own command.

    nf_tables over netlink, legacy iptables, device names -> Trace -> Finding
"""

import errno
import logging
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from ebpflb.host.finding import Finding, Level

log = logging.getLogger(__name__)

_FAMILIES: Final = {socket.AF_INET: "ip", socket.AF_INET6: "ip6"}
_LEGACY: Final = {"ip_tables_names": "iptables-legacy", "ip6_tables_names": "ip6tables-legacy"}
_CHAIN: Final = "KUBE-SERVICES"
_TABLE: Final = "kube-proxy"
_IPVS_DEVICE: Final = "kube-ipvs0"
_REMEDY: Final = (
    "remove the kube-proxy DaemonSet (or stop the service), then run on this node: kube-proxy --cleanup "
    "(a restart of the node does the same)"
)
_PATIENCE_S: Final = 20
_LOCK_PATIENCE_S: Final = 15
"""For the lock that all users of the legacy tools share: who puts in a large table holds it for seconds."""
_RESOURCE_PROBLEM: Final = 4
"""The tools' exit status when they did not get it."""

Chain = tuple[int, str, str]
"""Address family, table, chain."""


def traces_in_chains(chains: Iterable[Chain]) -> list[str]:
    """Return, in words, what kube-proxy left in nf_tables: by its nftables mode, or by iptables-nft."""
    found = []
    for family, table, chain in chains:
        if family in _FAMILIES and table == _TABLE:
            found.append(f"nftables table {_FAMILIES[socket.AddressFamily(family)]} {_TABLE}")
        elif family in _FAMILIES and (table, chain) == ("nat", _CHAIN):
            found.append(f"chain {_CHAIN} in {_FAMILIES[socket.AddressFamily(family)]} nat of iptables-nft")
    return list(dict.fromkeys(found))


def probe_kube_proxy() -> list[Finding]:
    """Look for each of kube-proxy's modes in the calling thread's network namespace."""
    devices = [f"device {name}" for _, name in socket.if_nameindex() if name == _IPVS_DEVICE]
    return [
        _finding("kube-proxy nftables", traces_in_chains(_nft_chains())),
        _probe_iptables(),
        _finding("kube-proxy ipvs", devices),
    ]


def _probe_iptables() -> Finding:
    shown, unread = _legacy_with_chain()
    found = _finding("kube-proxy iptables", [f"chain {_CHAIN} in {tool}" for tool in shown])
    if found.level is not Level.OK or not unread:
        return found
    detail = f"not known: {', '.join(unread)} had to wait {_LOCK_PATIENCE_S} s for the lock that others hold"
    return Finding(found.name, Level.WARNING, detail, "run `ebpflb doctor` again when nothing writes iptables' rules")


def _finding(name: str, traces: list[str]) -> Finding:
    if not traces:
        return Finding(name, Level.OK, "no trace")
    detail = f"{', '.join(traces)}: what ebpflb passes on, kube-proxy's rules may still translate"
    return Finding(name, Level.WARNING, detail, _REMEDY)


def _nft_chains() -> list[Chain]:
    """List nf_tables' chains; a kernel without nf_tables has none."""
    try:
        with NFTables(nfgen_family=socket.AF_UNSPEC) as nftables:
            return [
                (chain["nfgen_family"], chain.get_attr("NFTA_CHAIN_TABLE"), chain.get_attr("NFTA_CHAIN_NAME"))
                for chain in nftables.get_chains()
            ]
    except (NetlinkError, OSError) as error:
        log.debug("nftables_unreadable reason=%s", error)
        return []


def _legacy_with_chain() -> tuple[list[str], list[str]]:
    """Return the legacy tools that show the chain, and those that others kept from looking.

    Asks only where a nat table exists: asking would create it.
    """
    found, unread = [], []
    for names, tool in _LEGACY.items():
        try:
            tables = (Path("/proc/thread-self/net") / names).read_text().split()
            if "nat" not in tables:
                continue
            command = [tool, "-w", str(_LOCK_PATIENCE_S), "-t", "nat", "-S", _CHAIN]
            shown = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            level = logging.DEBUG if getattr(error, "errno", 0) == errno.ENOENT else logging.WARNING
            log.log(level, "iptables_unreadable tool=%s reason=%s", tool, error)
            continue
        if shown.returncode == 0:
            found.append(tool)
        elif shown.returncode == _RESOURCE_PROBLEM:
            unread.append(tool)
    return found, unread
