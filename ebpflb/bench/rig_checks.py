"""What must hold of a run before its numbers mean anything. Pure.

what was made, what arrived --check_arrivals, check_growth--> nothing, or RefusedError
"""

from collections.abc import Sequence
from math import sqrt
from typing import Final

from ebpflb.bench.measure import RefusedError

_DEVIATIONS: Final = 6
"""Of the binomial distribution: a fair choice lies outside once in five hundred million runs."""


def check_arrivals(mode: str, made: int, arrived: Sequence[int]) -> None:
    """Refuse a run whose connections did not all arrive, or not at all backends alike; ``arrived``: one a backend."""
    if sum(arrived) != made:
        raise RefusedError(
            f"bench: {mode}: {made} connections were made, and {sum(arrived)} arrived at the backends",
            remedy="end what else uses the machine's network namespaces, and run it again",
        )
    share = made / len(arrived)
    room = _DEVIATIONS * sqrt(share * (1 - 1 / len(arrived)))
    if any(abs(each - share) > room for each in arrived):
        found = ", ".join(str(each) for each in arrived)
        raise RefusedError(f"bench: {mode} does not balance: of {made} connections the backends got {found}")


def check_growth(mode: str, few_ns: float, many_ns: float) -> None:
    """Refuse a rig in which kube-proxy's iptables rules cost nothing: their packets went somewhere else."""
    if many_ns <= few_ns:
        raise RefusedError(
            f"bench: {mode} was no slower with 10,000 Services ({many_ns:.0f} ns) than with 10 ({few_ns:.0f} ns)",
            remedy="see that netfilter is on the way (`iptables-save -c` in the node's namespace counts packets)",
        )
