"""Loads kube-proxy's rules in a namespace and says how long that took. Decides nothing of what the rules are.

Node, kube-proxy's way --> Netfilter.load(text) --> seconds: the process from its start to its end
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ebpflb.bench.namespaces import entered
from ebpflb.bench.rulesets import PeerService, iptables_change, iptables_rules, nftables_change, nftables_rules
from ebpflb.bench.topology import Place
from ebpflb.errors import EbpflbError, PrerequisiteError

Services = Sequence[PeerService]


@dataclass(frozen=True, slots=True)
class ProxyMode:
    """One of kube-proxy's ways, with the tool that carries it out."""

    name: str
    command: tuple[str, ...]
    """Reads a text from its stdin."""
    version: tuple[str, ...]
    whole: Callable[[Services], str]
    change: Callable[[Services, PeerService], str]


def _nftables_change(_services: Services, changed: PeerService) -> str:
    return nftables_change(changed)


WAITING = ("-w", "60")
"""For the lock of iptables-legacy, in seconds: all network namespaces of a machine share one."""
NFTABLES = ProxyMode("nftables", ("nft", "-f", "-"), ("nft", "--version"), nftables_rules, _nftables_change)
IPTABLES_LEGACY, IPTABLES_NFT = (
    ProxyMode(
        f"iptables-{kind}",
        (f"iptables-{kind}-restore", *WAITING, "--noflush"),
        (f"iptables-{kind}", "--version"),
        iptables_rules,
        iptables_change,
    )
    for kind in ("legacy", "nft")
)
MODES = (NFTABLES, IPTABLES_LEGACY, IPTABLES_NFT)


def load_rules(place: Place, mode: ProxyMode, text: str, *, seconds: float = 900.0) -> float:
    """Load a text; return the seconds from the process's start to its end. Raises ``EbpflbError``."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            entered(place.netns, None, mode.command),
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EbpflbError(f"bench: `{' '.join(mode.command)}` did not end within {seconds:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise EbpflbError(f"bench: `{' '.join(mode.command)}` failed: {said[0] if said else done.returncode}")
    return time.monotonic() - began


def version_of(mode: ProxyMode) -> str:
    """Return what the tool says of its version. Raises ``PrerequisiteError`` without it."""
    try:
        done = subprocess.run(mode.version, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PrerequisiteError(
            f"{mode.version[0]} cannot be run ({error})", remedy="install nftables and iptables"
        ) from error
    return done.stdout.strip()
