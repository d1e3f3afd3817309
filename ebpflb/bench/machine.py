"""What this machine is: whatever figures depend on that is not ours. Asks files and tools; decides nothing.

    /proc, /sys, `tool --version`, git --> Machine --> "machine" of the JSON, a section of the page

A tool that is missing is ``absent``, a file that does not say is ``unknown``: what is not known must not stop a run.
"""

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ebpflb.datapath.build import bcc_version
from ebpflb.errors import PrerequisiteError

ABSENT: Final = "absent"
UNKNOWN: Final = "unknown"
_SOURCE: Final = Path(__file__).parents[2]
_SECONDS: Final = 10.0
_VERSIONS: Final[Mapping[str, Sequence[str]]] = {
    "iptables-legacy": ("iptables-legacy", "--version"),
    "iptables-nft": ("iptables-nft", "--version"),
    "nft": ("nft", "--version"),
    "iproute2": ("ip", "-V"),
    "cc": ("cc", "-dumpfullversion", "-dumpversion"),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine at the start of a run."""

    date: str
    """UTC, as ISO 8601 writes it."""
    kernel: str
    architecture: str
    cpu: str
    cores: int
    """Online ones that this process may use."""
    memory_mb: int
    virtualization: str
    """``kvm``, ``docker``: what wraps this kernel or process; ``none``."""
    mitigations: Mapping[str, str]
    """By vulnerability, those that this processor has."""
    bpf_jit: str
    """net.core.bpf_jit_enable and bpf_jit_harden."""
    load_before: tuple[float, float, float]
    """Load averages of the last 1, 5 and 15 minutes."""
    tools: Mapping[str, str]
    """Versions of the peers, compilers and libraries."""
    ebpflb: str
    commit: str
    """Of the source, ``-dirty`` where it was changed; empty outside a clone."""


def this_machine() -> Machine:
    """Describe the machine that this runs on; takes tens of milliseconds."""
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        kernel=platform.release(),
        architecture=platform.machine(),
        cpu=cpu_model(_read("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        virtualization=_virtualization(),
        mitigations=mitigations(Path("/sys/devices/system/cpu/vulnerabilities")),
        bpf_jit=", ".join(_sysctl(name) for name in ("bpf_jit_enable", "bpf_jit_harden")),
        load_before=os.getloadavg(),
        tools=_tools(),
        ebpflb=version("ebpflb"),
        commit=_commit(_SOURCE),
    )


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name as /proc/cpuinfo has it; ARM's has none."""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def mitigations(folder: Path) -> dict[str, str]:
    """Return what the kernel says of each vulnerability that this processor has."""
    if not folder.is_dir():
        return {}
    said = {entry.name: _read(str(entry)).strip() for entry in sorted(folder.iterdir())}
    return {name: words for name, words in said.items() if words != "Not affected"}


def tool_version(command: Sequence[str]) -> str:
    """Return the version in the first line that a tool prints; ``absent`` without the tool."""
    lines = (_output(command) or ABSENT).splitlines()
    found = re.search(r"v?\d+(\.\d+)+.*", lines[0])
    return found[0].strip() if found else lines[0]


def _tools() -> dict[str, str]:
    found = {"python": platform.python_version(), "bcc": _bcc(), "llvm of bcc": _llvm_of_bcc()}
    return found | {name: tool_version(command) for name, command in _VERSIONS.items()}


def _bcc() -> str:
    try:
        return bcc_version()
    except PrerequisiteError:
        return ABSENT


def _llvm_of_bcc() -> str:
    """Return the version of the compiler inside bcc, which compiles our programs."""
    library = re.search(r"libbcc\.so\S* .*=> (\S+)", _output(("ldconfig", "-p")) or "")
    linked = _output(("ldd", library[1])) if library else ""
    found = re.search(r"libLLVM[-.](?:so\.)?([\d.]*\d)", linked or "")
    return found[1] if found else UNKNOWN


def _virtualization() -> str:
    asked = [_output(("systemd-detect-virt", kind)) for kind in ("--vm", "--container")]
    said = [words.strip() for words in asked if words and words.strip() != "none"]
    if said:
        return ", ".join(said)
    is_guest = re.search(r"^flags\s*:.*\bhypervisor\b", _read("/proc/cpuinfo"), re.MULTILINE)
    return "a virtual machine" if is_guest else "none"


def _sysctl(name: str) -> str:
    return f"{name} {_read(f'/proc/sys/net/core/{name}').strip() or UNKNOWN}"


def _commit(source: Path) -> str:
    if not (source / ".git").exists():
        return ""
    # Root measures in a clone that is somebody else's, which git refuses to look at unless told to.
    git = ("git", "-c", f"safe.directory={source}", "-C", str(source))
    return (_output((*git, "describe", "--always", "--dirty", "--abbrev=12")) or "").strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _output(command: Sequence[str]) -> str | None:
    """Return what a tool prints, whatever it exits with; ``None`` when it cannot be run."""
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout
