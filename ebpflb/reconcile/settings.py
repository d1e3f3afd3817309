"""The periods of the loop, as a value. Knows no clock.

configuration --> Settings --> loop, family
"""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> None:
    """Nobody asks."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The loop's periods."""

    grace_s: float = 10.0
    """How long after an apply the ids and ranges that it freed stay unused. A program that looked a frontend up before
    the apply may still read its range: it ends within microseconds, but on a virtual CPU that the hypervisor has taken
    away it can stand still for seconds. Ten are far beyond that, and cost a few idle slots only."""
    comparison_period_s: float = 600.0
    """How often the maps are read back and compared with what should be in them."""
    on_compiled: Callable[[], None] = _nothing
    """Called when everything has been compiled anew, is in the maps, and will only be changed piece by piece."""
