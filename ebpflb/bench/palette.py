"""Who is who in a plot: which names are modes, which of them are ours, and the colour of each. Pure.

Colours are Okabe and Ito's, which colour-blind eyes tell apart; a mode has the same one in every plot.

    contender names --colours--> {name: "#rrggbb"}
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Final

DIRECT: Final = "#000000"
_KNOWN: Final[Mapping[str, str]] = {
    "direct": DIRECT,
    "iptables-legacy": "#E69F00",
    "iptables-nft": "#D55E00",
    "nftables": "#CC79A7",
    "nft": "#CC79A7",
    "ipvs": "#8a7400",
}
"""Of modes that are in many plots, by how their names begin."""
_OURS: Final = ("#0072B2", "#009E73", "#56B4E9", "#004c78")
_OTHER_MODES: Final = ("#5f6368", "#a6761d", "#7570b3", "#9e9e9e")
_NO_MODES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


def is_ours(name: str) -> bool:
    """Say whether a mode is this program."""
    return name.lower().startswith(("ebpflb", "ours"))


def are_modes(names: Iterable[str]) -> bool:
    """Say whether these names are modes, rather than sizes of tables or paths of packets."""
    return any(is_ours(name) or _known(name) for name in names)


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name: ours are blue and green, whoever is in many plots has the same in all."""
    if not are_modes(names):
        return dict(zip(names, cycle(_NO_MODES), strict=False))
    ours, others = cycle(_OURS), cycle(_OTHER_MODES)
    return {name: _known(name) or next(ours if is_ours(name) else others) for name in names}


def _known(name: str) -> str:
    return next((colour for start, colour in _KNOWN.items() if name.lower().startswith(start)), "")
