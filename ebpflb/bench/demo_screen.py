"""Shows the demo in a terminal: steps with a spinner, bars, excerpts. Decides nothing about what is shown.

Scene, Report, text -> Screen -> terminal (or plain lines where there is none)
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console
from rich.text import Text

BAR_WIDTH = 40
INDENT = "    "
CONTINUED = INDENT * 3
LOG_WIDTH = 160
"""Where there is no terminal to ask: CI's logs need not be 80 columns wide."""


class Screen:
    """The terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = LOG_WIDTH

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a spinner while the block runs, then a tick or a cross."""
        try:
            with self._console.status(title):
                yield
        except BaseException:
            self._console.print(f"[red]✗[/red] {title}")
            raise
        self._console.print(f"[green]✓[/green] {title}")

    def note(self, text: str) -> None:
        """Show one line below a step."""
        self._console.print(Text(f"{INDENT}{text}", style="dim"), soft_wrap=True)

    def bars(self, counts: Mapping[str, int]) -> None:
        """Show how requests were spread: one bar a backend."""
        most = max(counts.values(), default=1)
        width = max((len(name) for name in counts), default=0)
        for name, count in counts.items():
            bar = "█" * max(1, round(BAR_WIDTH * count / most))
            self._console.print(Text.assemble(f"{INDENT}{name:<{width}}  ", (bar, "cyan"), f" {count}"))

    def excerpt(self, text: str) -> None:
        """Show lines of another program's output; what is wider than the terminal goes on below, further in."""
        for line in text.splitlines():
            rows = wrap(line, self._console.width, initial_indent=INDENT, subsequent_indent=CONTINUED) or [""]
            for row in rows:
                self._console.print(Text(row), soft_wrap=True)

    def last_line(self, text: str) -> None:
        """Show the outcome, unadorned: scripts read it."""
        self._console.print(text, markup=False, soft_wrap=True)
