"""Names every measure of `ebpflb bench`: which module measures which figures, and about how long it takes.

Decides what a choice of figures runs. Imports no measure until it is asked for: each brings its own libraries.

    Figure... --subjects_for--> Subject... --load--> Measure
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from ebpflb.bench.figures import Figure
from ebpflb.bench.measure import Effort, Measure


@dataclass(frozen=True, slots=True)
class Subject:
    """One module of measures."""

    module: str
    """Under ``ebpflb.bench.measures``; its ``measure`` is the measure."""
    title: str
    """What is shown while it runs."""
    figures: tuple[str, ...]
    """Ids of what it measures; without any it draws curves only."""
    quick_s: float
    """What a quick run of it should take at most on two idle cores; all together three minutes."""
    whole_s: float
    """About what a whole run of it takes there."""

    def seconds(self, effort: Effort) -> float:
        """Return about how long it takes on an idle machine."""
        return self.quick_s if effort.is_quick else self.whole_s


SUBJECTS: Final[tuple[Subject, ...]] = (
    Subject("connect", "TCP connect()", ("P1", "P1b", "P1c"), 30, 240),
    Subject("udp_connect", "UDP connect()", ("P2",), 11, 30),
    Subject("requests", "requests and bulk data", (), 17, 120),
    Subject("programs", "one program at a time", ("P3", "P4", "P5", "P9", "P9b"), 28, 120),
    Subject("frames", "frames on wires", ("P6", "P7", "P8", "P9c"), 27, 180),
    Subject("control_plane", "from the API server to the maps", ("P10", "P10b", "P11", "P11b", "P12"), 35, 370),
    Subject("memory", "memory of maps", ("P13", "P13b"), 10, 20),
    Subject("maglev", "Maglev tables", ("P14", "P14b"), 5, 60),
    Subject("start", "an agent's start", ("P15", "P15b"), 17, 60),
)
"""In the order in which they run."""


def subjects_for(figures: Sequence[Figure] | None) -> tuple[Subject, ...]:
    """Return what measures these figures; for ``None`` everything, what draws curves only, too."""
    if figures is None:
        return SUBJECTS
    wanted = {figure.id for figure in figures}
    return tuple(each for each in SUBJECTS if wanted & set(each.figures))


def load(subject: Subject) -> Measure:
    """Import a measure. Raises ``ImportError`` or ``AttributeError`` where this table is wrong."""
    measure: Measure = import_module(f"ebpflb.bench.measures.{subject.module}").measure
    return measure
