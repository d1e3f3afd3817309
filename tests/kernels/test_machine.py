"""Guests that do not end as they should, played by a shell; and what a guest says of its own accord."""

import re
from io import StringIO
from pathlib import Path
from threading import Event
from unittest import mock

import pytest

from tests.kernels import machine
from tests.kernels.images import Image
from tests.kernels.machine import GuestError, Patience, Settings, boot
from tests.kernels.result import AT_WORK, END, Result
from tests.kernels.speaker import Speaker

LONG = Patience(60, 60)


def heard(script: str, folder: Path, patience: Patience = LONG) -> list[str]:
    """Run a shell in QEMU's place; return what it says."""
    image = Image("5.10", "5.10.0", folder, folder, folder)
    with mock.patch.object(machine, "_qemu", return_value=["sh", "-c", script]):
        settings = Settings("tcg", "")
        return list(boot(image, folder, folder, folder / "console", patience=patience, settings=settings))


def test_what_a_guest_says_is_handed_on(tmp_path: Path) -> None:
    assert heard("echo one; echo two", tmp_path) == ["one", "two"]


@pytest.mark.parametrize(
    ("patience", "words"),
    [(Patience(60, 0.1), "said nothing for 0.1 s"), (Patience(0.1, 60), "minutes are over")],
    ids=["silence", "time"],
)
def test_one_that_does_not_end_is_ended_and_it_is_said_why(patience: Patience, words: str, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=words):
        heard("exec sleep 60", tmp_path, patience)


def test_a_machine_that_fails_is_quoted(tmp_path: Path) -> None:
    complaint = "echo 'warning: TCG does not support requested feature: x' >&2; echo 'no memory' >&2; exit 1"
    with pytest.raises(GuestError, match=r"^QEMU ended with 1\nno memory$"):
        heard(complaint, tmp_path)


class Port(StringIO):
    """Notes that the words have come that are waited for."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.said = Event()

    def flush(self) -> None:
        if self._words in self.getvalue():
            self.said.set()


def test_a_guest_says_what_is_under_way_and_when_it_is_done() -> None:
    port = Port("half of it")
    with Speaker(port, every=0.01) as speaker, speaker.at_work("build"):
        speaker.step("build", "half of it")
        assert port.said.wait(60)
        speaker.tell(Result("build", ok=True))
    *lines, last = port.getvalue().splitlines()
    assert any(re.fullmatch(rf"{AT_WORK}build \(\d+ s, half of it\)", line) for line in lines)
    assert last == END
