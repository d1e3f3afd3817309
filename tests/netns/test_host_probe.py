"""The probes of `ebpflb doctor` on this machine, with conflicts made in a namespace of the test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.host.finding import Finding, Level
from ebpflb.host.mounts import cgroup2_mounts, read_mounts
from ebpflb.host.probe import run_probes
from tests.netns.host_helpers import inside, namespace, run

pytestmark = pytest.mark.root

BPFFS = Path("/sys/fs/bpf")
OPTIONAL = {
    *("bpf jit", "bpf set_retval", "cgroup getpeername", "kernel btf", "netns cookie", "sock_diag destroy"),
    "privileges",  # a container without all of them may do
}


@pytest.fixture(autouse=True)
def node() -> Iterator[Path]:
    with namespace("probe") as path, inside(path):
        run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield path


def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in run_probes(None, BPFFS)}


def complaints() -> dict[str, str]:
    """Return what is not well, but for what a machine may lack and still run this suite."""
    found = {name: finding.detail for name, finding in findings().items() if finding.level is not Level.OK}
    return {name: detail for name, detail in found.items() if name not in OPTIONAL}


def test_this_machine_has_what_is_needed() -> None:
    assert complaints() == {}
    assert [finding for finding in findings().values() if finding.level is Level.ERROR] == []


def test_what_is_optional_is_looked_at() -> None:
    assert findings().keys() >= OPTIONAL


def test_each_of_kube_proxys_modes_is_found() -> None:
    run("iptables-legacy", "-w", "60", "-t", "nat", "-N", "KUBE-SERVICES")  # its lock is the whole machine's
    run("ip6tables-nft", "-t", "nat", "-N", "KUBE-SERVICES")
    run("nft", "add table ip kube-proxy; add chain ip kube-proxy services")
    run("ip", "link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "x")
    found = complaints()
    assert found.keys() == {"kube-proxy nftables", "kube-proxy iptables", "kube-proxy ipvs"}
    assert "chain KUBE-SERVICES in iptables-legacy:" in found["kube-proxy iptables"]
    assert "nftables table ip kube-proxy" in found["kube-proxy nftables"]
    assert "chain KUBE-SERVICES in ip6 nat of iptables-nft" in found["kube-proxy nftables"]
    assert "device kube-ipvs0" in found["kube-proxy ipvs"]
    remedies = {name: finding.remedy for name, finding in findings().items() if name in found}
    assert [name for name, remedy in remedies.items() if "kube-proxy --cleanup" not in remedy] == []


def test_looking_for_iptables_rules_makes_no_table() -> None:
    findings()
    assert Path("/proc/thread-self/net/ip_tables_names").read_text() == ""


def test_forwarding_and_strict_filtering_are_read_from_this_namespace() -> None:
    for name in ("up0", "up1"):
        run("ip", "link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
        run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=1")
    run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    found = run_probes(None, BPFFS, ["up*"])
    bad = {each.name: each.remedy for each in found if each.level is not Level.OK and each.name not in OPTIONAL}
    assert bad == {
        "ip_forward": "sysctl -w net.ipv4.ip_forward=1",
        "rp_filter": "sysctl -w net.ipv4.conf.up0.rp_filter=2; sysctl -w net.ipv4.conf.up1.rp_filter=2",
    }


def test_a_wrong_cgroup_and_bpffs_are_named(tmp_path: Path) -> None:
    bad = {finding.name: finding for finding in run_probes(tmp_path, tmp_path) if finding.level is Level.ERROR}
    assert bad.keys() == {"bpffs", "cgroup v2"}
    assert bad["cgroup v2"].remedy == f"use --cgroup {cgroup2_mounts(read_mounts())[0]}"


def test_mounts_bpffs_where_none_is() -> None:
    """In a mount namespace of its own, where the machine's bpffs is taken away first."""
    folder = BPFFS / f"ebpflb-t-{os.getpid()}"
    script = (
        "from pathlib import Path; from ebpflb.host.mounts import ensure_bpffs\n"
        f"p = Path('{folder}'); print(ensure_bpffs(p), ensure_bpffs(p)); p.mkdir()\n"
    )
    shell = f'umount -l {BPFFS} && exec "$0" -c "$1"'
    shown = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, sys.executable, script],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert shown.stdout == "True False\n"
    assert not folder.exists()
