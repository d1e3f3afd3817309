"""kube-proxy's mode ``ipvs``, on kernels that have it.

services --ipvs_devices, ipvs_rules--> `ip -batch`, `ipvsadm-restore` --> the node's namespace
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ebpflb.bench.modes_netfilter import feed
from ebpflb.bench.namespaces import run_ip, write_sysctls
from ebpflb.bench.rulesets import PeerService
from ebpflb.bench.topology import Node

_DEVICE: Final = "kube-ipvs0"
_PROC: Final = Path("/proc/net/ip_vs")
_SYSCTLS: Final = [("net/ipv4/vs/conntrack", "1"), ("net/ipv4/vs/conn_reuse_mode", "0")]
"""As kube-proxy sets them."""


class Ipvs:
    """A dummy device has every ClusterIP, so that packets to them reach IPVS."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._served: set[str] = set()

    def load(self, services: Sequence[PeerService]) -> None:
        """Serve these."""
        if not self._served:
            run_ip([f"link add {_DEVICE} type dummy"], self._node.netns)
            write_sysctls(self._node.netns, _SYSCTLS)
        new = [service for service in services if service.address not in self._served]
        run_ip(ipvs_addresses(new), self._node.netns)
        feed(self._node, ["ipvsadm-restore"], ipvs_rules(new))
        self._served.update(service.address for service in new)


def why_no_ipvs(proc: Path = _PROC, path: str | None = None) -> str:
    """Return why there is no IPVS on this machine, in words; empty: there is."""
    if not proc.exists() and shutil.which("modprobe", path=path):
        subprocess.run(["modprobe", "ip_vs_rr"], capture_output=True, check=False)
    if not proc.exists():
        return "absent: this kernel has no IPVS"
    if not shutil.which("ipvsadm-restore", path=path):
        return "absent: ipvsadm is not installed"
    return ""


def ipvs_addresses(services: Sequence[PeerService]) -> list[str]:
    """Return the lines for `ip` that give the dummy device these Services' addresses."""
    return [f"addr add {service.address}/32 dev {_DEVICE}" for service in services]


def ipvs_rules(services: Sequence[PeerService]) -> str:
    """Return the text for ``ipvsadm-restore``: round robin, masqueraded, as kube-proxy has it."""
    lines = []
    for service in services:
        flag, at = "-t" if service.protocol == "tcp" else "-u", f"{service.address}:{service.port}"
        lines.append(f"-A {flag} {at} -s rr")
        lines += [f"-a {flag} {at} -r {address}:{port} -m -w 1" for address, port in service.endpoints]
    return "\n".join([*lines, ""])
