"""The machine half of ``ebpflb doctor``: is everything here that ebpflb needs, and nothing that fights it?

Decides what is well, a loss, or an obstacle. Each check is a pure function of facts beside a line that reads them.
Must not know bcc (``datapath`` checks that) nor change anything.

    /proc, /sys, features, kube_proxy -> run_probes -> list[Finding]
"""

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from ebpflb.host.features import probe_features
from ebpflb.host.finding import Finding, Level
from ebpflb.host.kube_proxy import probe_kube_proxy
from ebpflb.host.mounts import BPFFS_POINT, Mount, cgroup2_mounts, mount_of, read_mounts

__all__ = ["Finding", "Level", "run_probes"]

OLDEST_KERNEL: Final = (5, 10)
_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
"""SYS_ADMIN: mounts, other network namespaces, finding maps by id."""
_IPV4_SETTINGS: Final = Path("/proc/sys/net/ipv4")
_VMLINUX_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_STRICT: Final = 1
_DEFAULT_ROUTE: Final = "00000000"


def run_probes(cgroup: Path | None, bpffs: Path, uplink_patterns: Sequence[str] = ()) -> list[Finding]:
    """Run every check, in the calling thread's network namespace.

    Without patterns, uplinks are the devices of the IPv4 default routes.
    """
    mounts = read_mounts()
    return [
        check_capabilities(Path("/proc/thread-self/status").read_text()),
        check_kernel(os.uname().release),
        *probe_features(),
        check_btf(_VMLINUX_BTF.exists()),
        check_bpffs(bpffs.resolve(), mounts),
        check_cgroup(cgroup.resolve() if cgroup else None, mounts),
        check_forwarding(_setting("ip_forward")),
        check_rp_filter(_rp_filters(), _uplinks(uplink_patterns)),
        *probe_kube_proxy(),
    ]


def check_capabilities(status: str) -> Finding:
    """Read the effective capabilities out of ``/proc/<pid>/status``."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(match[1], 16) if match else 0
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if not missing:
        return Finding("privileges", Level.OK, "all needed capabilities are held")
    return Finding("privileges", Level.ERROR, f"missing {', '.join(missing)}", "run as root, in a pod: privileged")


def check_kernel(release: str) -> Finding:
    """Compare the running kernel with the oldest one under test."""
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) >= OLDEST_KERNEL:
        return Finding("kernel", Level.OK, f"Linux {release}")
    wanted = ".".join(map(str, OLDEST_KERNEL))
    return Finding("kernel", Level.ERROR, f"Linux {release} is older than {wanted}", f"boot Linux {wanted} or later")


def check_btf(present: bool) -> Finding:
    """Say whether the kernel describes its own types."""
    if present:
        return Finding("kernel btf", Level.OK, str(_VMLINUX_BTF))
    detail = f"{_VMLINUX_BTF} is missing: tools show programs without their types"
    return Finding("kernel btf", Level.WARNING, detail, "use a kernel built with CONFIG_DEBUG_INFO_BTF")


def check_bpffs(path: Path, mounts: Sequence[Mount]) -> Finding:
    """Say whether pins can be made under a path."""
    found = mount_of(path, mounts)
    if found is not None and found.filesystem == "bpf":
        return Finding("bpffs", Level.OK, f"{path} lies on bpffs, mounted at {found.point}")
    if path.is_relative_to(BPFFS_POINT):
        detail = f"not mounted at {BPFFS_POINT}: the agent mounts it itself, and it is lost with the agent's container"
        return Finding("bpffs", Level.WARNING, detail, f"mount -t bpf bpf {BPFFS_POINT}")
    detail = f"{path} does not lie on bpffs"
    return Finding("bpffs", Level.ERROR, detail, f"use a path under {BPFFS_POINT}, or: mount -t bpf bpf {path}")


def check_cgroup(path: Path | None, mounts: Sequence[Mount]) -> Finding:
    """Say whether socket programs can be attached to a cgroup, or to any."""
    points = cgroup2_mounts(mounts)
    if not points:
        remedy = "mount -t cgroup2 none /sys/fs/cgroup/unified (or boot with systemd.unified_cgroup_hierarchy=1)"
        return Finding("cgroup v2", Level.ERROR, "not mounted: sockets cannot be served", remedy)
    if path is None:
        return Finding("cgroup v2", Level.OK, f"mounted at {points[0]}")
    found = mount_of(path, mounts)
    if not path.is_dir():
        return Finding("cgroup v2", Level.ERROR, f"--cgroup {path}: no such folder", f"use --cgroup {points[0]}")
    if found is None or found.filesystem != "cgroup2":
        detail = f"--cgroup {path}: lies on {found.filesystem if found else 'nothing'}, not on cgroup v2"
        return Finding("cgroup v2", Level.ERROR, detail, f"use --cgroup {points[0]}")
    return Finding("cgroup v2", Level.OK, f"{path}")


def check_forwarding(value: int | None) -> Finding:
    """Say whether the node forwards packets to its pods."""
    if value:
        return Finding("ip_forward", Level.OK, "net.ipv4.ip_forward=1")
    detail = "net.ipv4.ip_forward=0: packets from outside do not reach pods"
    return Finding("ip_forward", Level.WARNING, detail, "sysctl -w net.ipv4.ip_forward=1")


def check_rp_filter(values: Mapping[str, int], uplinks: Sequence[str]) -> Finding:
    """Look for strict reverse-path filtering where it hurts: with one uplink, every way back leads over it."""
    strict = [name for name in uplinks if max(values.get("all", 0), values.get(name, 0)) == _STRICT]
    if not strict or len(uplinks) == 1:
        return Finding("rp_filter", Level.OK, f"not in the way on {', '.join(uplinks) or 'any uplink'}")
    detail = f"strict on {', '.join(strict)}: what arrives there from clients routed over another uplink is dropped"
    remedy = "; ".join(f"sysctl -w net.ipv4.conf.{name}.rp_filter=2" for name in strict)
    return Finding("rp_filter", Level.WARNING, detail, remedy)


def parse_default_devices(route_table: str) -> list[str]:
    """Return the devices of the default routes in ``/proc/net/route``."""
    rows = [line.split() for line in route_table.splitlines()[1:]]
    return list(dict.fromkeys(row[0] for row in rows if len(row) > 1 and row[1] == _DEFAULT_ROUTE))


def _uplinks(patterns: Sequence[str]) -> list[str]:
    if not patterns:
        return parse_default_devices(Path("/proc/thread-self/net/route").read_text())
    devices = [name for name in _rp_filters() if name != "all"]
    return [name for name in devices if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _rp_filters() -> dict[str, int]:
    """Return the setting of every device, and of ``all``."""
    names = sorted(path.name for path in (_IPV4_SETTINGS / "conf").iterdir())
    return {name: _setting(f"conf/{name}/rp_filter") or 0 for name in names if name not in {"default", "lo"}}


def _setting(name: str) -> int | None:
    try:
        return int((_IPV4_SETTINGS / name).read_text())
    except (OSError, ValueError):
        return None
