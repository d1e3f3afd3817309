"""What a check of ``ebpflb doctor`` says. Every finding that is not well carries its remedy.

probe, features, kube_proxy, datapath's own checks -> Finding -> cli
"""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """ebpflb runs, with something less; the detail says what."""
    ERROR = "error"
    """ebpflb does not run, or not rightly."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    level: Level
    detail: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Refuse a complaint without a way out."""
        if self.level is not Level.OK and not self.remedy:
            raise ValueError(f"finding {self.name}: has no remedy")
