"""The demo's last line, whatever goes wrong, and what its screen shows where the terminal is narrow."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ebpflb.bench import demo
from ebpflb.bench.demo_screen import Screen
from ebpflb.bench.demo_stage import Settings
from ebpflb.bench.plan import Underlay
from ebpflb.errors import EbpflbError


def play_into(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Play a demo whose stage fails; return what was undone."""
    undone: list[str] = []

    @contextmanager
    def staged(_screen: Screen, _settings: Settings) -> Iterator[None]:
        try:
            raise error
            yield
        finally:
            undone.append("stage")

    monkeypatch.setattr(demo, "staged", staged)
    return undone


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EbpflbError("lab: no such device"), "demo: failed: lab: no such device"),
        (OSError(28, "No space left on device"), "demo: failed: OSError: [Errno 28] No space left on device"),
        (subprocess.TimeoutExpired("ip", 60), "demo: failed: TimeoutExpired: Command 'ip' timed out after 60 seconds"),
    ],
)
def test_every_failure_is_one_last_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EBPFLB_DEBUG", raising=False)
    undone = play_into(error, monkeypatch)
    assert demo.run(Settings()) == 1
    assert undone == ["stage"]
    assert capsys.readouterr().out.splitlines()[-1].startswith(line)


def test_what_is_chosen_reaches_the_lab_and_the_agents() -> None:
    assert demo.parse([]) == Settings(Underlay.ROUTED)
    assert demo.parse([]).agent_flags == ()
    chosen = demo.parse(["--underlay", "vxlan", "--forwarding", "dsr"])
    assert chosen == Settings(Underlay.VXLAN, "dsr")
    assert chosen.agent_flags == ("--forwarding", "dsr")


def test_details_stand_before_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play_into(EbpflbError("lab: it exited; its last words:\none\ntwo"), monkeypatch)
    assert demo.run(Settings()) == 1
    assert capsys.readouterr().out.splitlines() == [
        "    one",
        "    two",
        "demo: failed: lab: it exited; its last words:",
    ]


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPFLB_DEBUG", "1")
    undone = play_into(OSError("odd"), monkeypatch)
    with pytest.raises(OSError, match="odd"):
        demo.run(Settings())
    assert undone == ["stage"]


def test_an_excerpt_loses_nothing_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    monkeypatch.setattr(screen._console, "_width", 40)
    screen.excerpt("FRONTEND  BACKENDS\n10.96.0.10:80/TCP  10.244.1.11:8080/TCP, 10.244.2.11:8080/TCP")
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 40
    assert shown.split() == [
        *("FRONTEND", "BACKENDS"),
        *("10.96.0.10:80/TCP", "10.244.1.11:8080/TCP,", "10.244.2.11:8080/TCP"),
    ]
