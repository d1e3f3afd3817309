"""What may stand between a client and the backends: the modes that are compared, each by how it is made to serve.

Decides the order and the names of modes. Knows no measure; the namespaces are the rig's.

    kind --open_mode(Lab)--> Mode --load(services)--> rules in the node's namespace, or rows in maps
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ebpflb.bench.modes_ipvs import Ipvs, why_no_ipvs
from ebpflb.bench.modes_netfilter import Iptables, Nftables
from ebpflb.bench.modes_ours import Socket
from ebpflb.bench.rig_services import addresses
from ebpflb.bench.rulesets import PeerService
from ebpflb.bench.topology import Lab


class Mode(Protocol):
    """One way to serve Services on the first node of a lab."""

    def load(self, services: Sequence[PeerService]) -> None:
        """Serve these; those that were served before are among them."""


class Direct:
    """Nothing: clients dial the backends themselves."""

    def load(self, services: Sequence[PeerService]) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A mode by name, not yet made."""

    name: str
    open: Callable[[Lab, Path], AbstractContextManager[Mode]]
    """Makes it on a lab, with a folder for its files."""
    is_netfilter: bool = False
    quick_most: int = 10_000
    """Services that a quick run loads: more would take longer than all the rest."""
    whole_most: int = 10_000

    def most(self, *, is_quick: bool) -> int:
        """Return the largest number of Services that this mode is measured with."""
        return self.quick_most if is_quick else self.whole_most

    def targets(self, services: Sequence[PeerService], most: int) -> list[str]:
        """Return whom a client dials: so many Services at most."""
        if self.name == DIRECT:
            return [f"{address}:{port}" for address, port in services[0].endpoints]
        return addresses(services, most)


DIRECT: Final = "direct"
IPTABLES_LEGACY: Final = "iptables-legacy"
IPTABLES_NFT: Final = "iptables-nft"
NFTABLES: Final = "nftables"
IPVS: Final = "ipvs"
SOCKET: Final = "ebpflb socket"

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(DIRECT, lambda _lab, _folder: nullcontext(Direct())),
        Kind(IPTABLES_LEGACY, lambda lab, _: nullcontext(Iptables(lab.node(1), "legacy")), is_netfilter=True),
        Kind(IPTABLES_NFT, lambda lab, _: nullcontext(Iptables(lab.node(1), "nft")), True, quick_most=1_000),
        Kind(NFTABLES, lambda lab, _: nullcontext(Nftables(lab.node(1))), True, quick_most=1_000),
        Kind(IPVS, lambda lab, _: nullcontext(Ipvs(lab.node(1))), True, quick_most=1_000),
        Kind(SOCKET, Socket, quick_most=100_000, whole_most=100_000),
    )
}
"""In the order of the report."""


def present_kinds() -> tuple[list[Kind], dict[str, str]]:
    """Return the modes that this machine has, and of the others why not, by name."""
    reason = why_no_ipvs()
    absent = {IPVS: reason} if reason else {}
    return [kind for kind in KINDS.values() if kind.name not in absent], absent
