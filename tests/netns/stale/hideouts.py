"""Namespaces that are held in every way in which one can be, with a cable to a node: where sockets may hide.

with hideout("file", node, 3, families) as path: ...  ->  a namespace with addresses of the node's pod network
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ebpflb.bench.addresses import PLANS, family_of, pod_address
from ebpflb.bench.namespaces import run_ip
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Node
from ebpflb.core.abi import Family

WAYS = ("process", "thread", "file", "mount")
_GATEWAYS = {Family.IPV4: "169.254.3.1", Family.IPV6: "fe80::169:254:3:1"}
_FIRST_NUMBER = 100
"""As pods of the node count; the lab's own come before."""


@contextmanager
def held_namespace(way: str, folder: Path) -> Iterator[Path]:
    """Make a namespace that is held in one way only, and yield a path by which it can be entered."""
    if way == "mount":
        path = folder / "mounted-netns"
        path.touch()
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)
        try:
            yield path
        finally:
            subprocess.run(["umount", path], check=True)
            path.unlink()
        return
    holder = Running(f"{way} that holds", [sys.executable, "-m", "tests.netns.stale.holder", way])
    with holder:
        yield Path(holder.wait_for_line(lambda line: line.startswith("/proc/")))


@contextmanager
def hideout(way: str, node: Node, number: int, folder: Path) -> Iterator[Path]:
    """Yield the path of such a namespace, from which Services can be reached through the node."""
    addresses = [pod_address(node.number, _FIRST_NUMBER + number, family_of(address)) for address in node.addresses]
    device = f"hide{number}"
    with held_namespace(way, folder) as path:
        run_ip([f"link add {device} type veth peer name {device}-in", f"link set {device} up"], node.netns)
        try:
            run_ip(_node_side(device, addresses), node.netns)
            _move(node, f"{device}-in", path)
            _run_inside(path, _inner_side(f"{device}-in", addresses))
            yield path
        finally:
            run_ip([f"link del {device}"], node.netns)


def _node_side(device: str, addresses: Sequence[str]) -> list[str]:
    lines = []
    for address in addresses:
        family = family_of(address)
        host = PLANS[family].host_prefix
        nodad = " nodad" if family is Family.IPV6 else ""
        lines += [
            f"addr add {_GATEWAYS[family]}/{host} dev {device}{nodad}",
            f"route add {address}/{host} dev {device} scope link",
        ]
    return lines


def _inner_side(device: str, addresses: Sequence[str]) -> list[str]:
    lines = ["link set lo up", f"link set {device} up"]
    for address in addresses:
        family = family_of(address)
        nodad = " nodad" if family is Family.IPV6 else ""
        lines += [
            f"addr add {address}/{PLANS[family].host_prefix} dev {device}{nodad}",
            f"route add {_GATEWAYS[family]} dev {device} scope link",
            f"route add default via {_GATEWAYS[family]} dev {device}",
        ]
    return lines


def _move(node: Node, device: str, path: Path) -> None:
    """Move a device into a namespace that may have no name: `ip` names one by a process in it, here its own."""
    command = [
        "nsenter",
        f"--net={path}",
        "sh",
        "-c",
        f"nsenter --net=/run/netns/{node.netns} ip link set {device} netns $$",
    ]
    subprocess.run(command, check=True)


def _run_inside(path: Path, lines: Sequence[str]) -> None:
    text = "\n".join(lines) + "\n"
    subprocess.run(["nsenter", f"--net={path}", "ip", "-batch", "-"], input=text, text=True, check=True)
