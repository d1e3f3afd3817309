"""Takes turns: every contender runs in every round, so that whatever drifts on the machine drifts for all of them.

Pure but for what the contenders do. Knows no contender.

    {name: contender} --interleaved--> Rounds --ratio, median, spread--> numbers of a Result
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Contender = Callable[[], float]
"""Runs once, and returns one value: nanoseconds, packets a second."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The values of all contenders, one a round, in the order of the rounds."""

    values: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Return the median of a contender's rounds."""
        return median(self.values[name])

    def best(self, name: str, *, highest: bool = False) -> float:
        """Return the least disturbed round of a contender: its lowest value, or its highest."""
        return max(self.values[name]) if highest else min(self.values[name])

    def ratios(self, name: str, of: str, floor: str = "") -> list[float]:
        """Return the ratio of two contenders in each round, both above ``floor``, if one is named."""
        floors = self.values[floor] if floor else [0.0] * len(self.values[name])
        return [
            (mine - low) / (theirs - low)
            for mine, theirs, low in zip(self.values[name], self.values[of], floors, strict=True)
        ]

    def ratio(self, name: str, of: str, floor: str = "") -> float:
        """Return the median of the rounds' ratios."""
        return median(self.ratios(name, of, floor))

    def spread(self, name: str, of: str, floor: str = "") -> float:
        """Return half the distance between the quartiles of the rounds' ratios."""
        return half_spread(self.ratios(name, of, floor))


def half_spread(values: Sequence[float]) -> float:
    """Return half the distance between the quartiles; 0 for fewer than two values."""
    if len(values) < 2:  # noqa: PLR2004 - what quantiles() asks for
        return 0.0
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def interleaved(
    contenders: Mapping[str, Contender],
    rounds: int,
    *,
    warm_up: int = 1,
    on_round: Callable[[int], None] = lambda _number: None,
) -> Rounds:
    """Run every contender once a round, each round in another order; warm-up rounds do not count."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        for name in _order(list(contenders), number):
            value = contenders[name]()
            if number >= 0:
                values[name].append(value)
        if number >= 0:
            on_round(number + 1)
    return Rounds(values)


def _order(names: Sequence[str], number: int) -> Iterator[str]:
    """Yield the names, every round beginning with another one and every other round backwards."""
    start = number % len(names)
    turned = [*names[start:], *names[:start]]
    return iter(turned if number % 2 == 0 else turned[::-1])
