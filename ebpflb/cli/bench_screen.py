"""Shows how far `ebpflb bench` has got: a line that moves on a terminal, plain lines elsewhere. Decides nothing.

    registry's estimates, what measures say --> stderr

The terminal is written to only when a measure says something, which it does between two rounds: a spinner that turns
by itself would take its turns on a processor that is being measured.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from ebpflb.bench.measure import Effort
from ebpflb.bench.registry import Subject
from ebpflb.bench.suite import Listener, Outcome, Part
from ebpflb.bench.wording import value_text, verdict

_MINUTE: Final = 60


@contextmanager
def shown(subjects: Sequence[Subject], effort: Effort) -> Iterator[Listener]:
    """Yield the listener that fits what stderr is."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(console, subjects)
        return
    words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = TextColumn("{task.completed:.0f}/{task.total:.0f}"), BarColumn(20), words
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=len(subjects))
        yield _Live(progress, task, subjects, effort)


def saving(listener: Listener, effort: Effort, keep: Callable[[Outcome], None]) -> Listener:
    """Return the listener with ``keep`` called whenever a subject has ended.

    It is given the run up to there, which is not at its end and says so: it counts as interrupted.
    """
    return _Saving(listener, effort, keep)


def about(seconds: float) -> str:
    """Return a time of which nobody should think that it is exact: ``40 s``, ``3 min``."""
    return f"{max(seconds, 1):.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"


def ending(part: Part) -> str:
    """Return a finished subject's line."""
    if part.failure:
        return f"{part.subject.title}: {part.failure}"
    figures = ", ".join(f"{result.id} {value_text(result)} {verdict(result)}" for result in part.results)
    return f"{part.subject.title}: {figures or f'{len(part.series)} plots'} ({about(part.seconds)})"


class _Saving:
    """Shows what another listener shows, and has what there is kept whenever a subject has ended."""

    def __init__(self, shown: Listener, effort: Effort, keep: Callable[[Outcome], None]) -> None:
        self._shown = shown
        self._effort = effort
        self._keep = keep
        self._parts: tuple[Part, ...] = ()

    def begins(self, subject: Subject) -> None:
        self._shown.begins(subject)

    def says(self, words: str) -> None:
        self._shown.says(words)

    def ends(self, part: Part) -> None:
        self._shown.ends(part)
        self._parts = (*self._parts, part)
        self._keep(Outcome(self._effort, self._parts, is_interrupted=True))


class _Lines:
    """A line for each thing that is said, for logs."""

    def __init__(self, console: Console, subjects: Sequence[Subject]) -> None:
        self._console = console
        self._subjects = list(subjects)
        self._title = ""

    def begins(self, subject: Subject) -> None:
        self._title = f"{self._subjects.index(subject) + 1}/{len(self._subjects)} {subject.title}"
        self.says("begins")

    def says(self, words: str) -> None:
        self._console.print(f"bench: {self._title}: {words}", markup=False, soft_wrap=True)

    def ends(self, part: Part) -> None:
        self._console.print(f"bench: {ending(part)}", markup=False, soft_wrap=True)


class _Live:
    """One line that is written anew, and a line that stays for each subject."""

    def __init__(self, progress: Progress, task: TaskID, subjects: Sequence[Subject], effort: Effort) -> None:
        self._progress = progress
        self._task = task
        self._left = list(subjects)
        self._effort = effort
        self._title = ""

    def begins(self, subject: Subject) -> None:
        self._title = subject.title
        left = about(sum(each.seconds(self._effort) for each in self._left))
        self._show(f"about {left} left")

    def says(self, words: str) -> None:
        self._show(words)

    def ends(self, part: Part) -> None:
        self._left.remove(part.subject)
        self._progress.advance(self._task)
        mark = Text("✗ ", style="red") if part.failure else Text("✓ ", style="green")
        self._progress.console.print(mark.append(ending(part), style="none"), soft_wrap=True)

    def _show(self, words: str) -> None:
        # Text with brackets must not be taken for markup.
        self._progress.update(self._task, description=f"{self._title}: {words}".replace("[", r"\["))
        self._progress.refresh()
