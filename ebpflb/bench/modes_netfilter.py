"""kube-proxy's modes on netfilter: its rules, loaded by the tools that it uses itself.

Knows how texts of rules get into a namespace; ``rulesets.py`` knows what is in them.

    services --iptables_rules, nftables_rules--> text --iptables-*-restore, nft -f--> the node's namespace
"""

import subprocess
from collections.abc import Sequence
from typing import Final

from ebpflb.bench.namespaces import entered
from ebpflb.bench.netfilter_load import WAITING
from ebpflb.bench.rulesets import PeerService, iptables_rules, nftables_rules
from ebpflb.bench.topology import Node
from ebpflb.errors import EbpflbError, PrerequisiteError

_SECONDS: Final = 300.0
_EMPTY: Final = "*filter\nCOMMIT\n*nat\nCOMMIT\n"


class Iptables:
    """kube-proxy's mode ``iptables``, by one of the two back ends of iptables."""

    def __init__(self, node: Node, back_end: str) -> None:
        """``back_end``: ``legacy`` or ``nft``."""
        self._node = node
        self._tool = f"iptables-{back_end}-restore"

    def load(self, services: Sequence[PeerService]) -> None:
        """Write all rules anew, as kube-proxy does when it starts."""
        feed(self._node, [self._tool, *WAITING], _EMPTY)
        feed(self._node, [self._tool, *WAITING, "--noflush"], iptables_rules(services))


class Nftables:
    """kube-proxy's mode ``nftables``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def load(self, services: Sequence[PeerService]) -> None:
        """Write the table anew."""
        feed(self._node, ["nft", "-f", "-"], nftables_rules(services))


def feed(node: Node, command: Sequence[str], text: str) -> None:
    """Run a command on a node with a text as its input. Raises ``EbpflbError`` with its words if it fails."""
    argv = entered(node.netns, None, command)
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EbpflbError(f"bench: {command[0]} did not end within {_SECONDS:.0f} s") from None
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()[-1:]
    if done.returncode == 127 or "No such file" in "".join(said):  # noqa: PLR2004 - a shell's "not found"
        raise PrerequisiteError(
            f"bench: there is no {command[0]}",
            remedy="install it with `apt-get install iptables nftables`, or leave out its figures with --only",
        )
    raise EbpflbError(f"bench: {command[0]} on {node.name} exited with {done.returncode}: {' '.join(said)}")
