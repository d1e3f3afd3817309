"""Runs a guest: QEMU with the machine's own files under a kernel of our choice.

    repository --snapshot--> tree;  Image, tree --boot--> lines of the guest's second serial port; its console: a file
    a guest that says nothing, or does not end --> GuestError

Emulated unless told otherwise: a /dev/kvm inside a virtual machine may open and then stand still. The guest has no
network.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TextIO

from tests.kernels.images import Image
from tests.kernels.result import CHECKS, EVERYTHING

_KERNEL_WORDS = "console=ttyS0 quiet panic=-1 no_timer_check"
"""The last one: a host that gives the guest no processor for a while is not a broken timer, at which it would panic."""
_MEMORY_MB = 2048
_CPUS = 2


class GuestError(Exception):
    """A guest did not end by itself, or QEMU did not start; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a guest is waited for, in seconds."""

    whole: float
    """From its start to its end."""
    silence: float
    """From one of its lines to the next: it says each minute what it is at."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a guest is run, and what it does."""

    accelerator: str
    """Of QEMU."""
    checks: str
    """A regular expression of the names of checks; empty: all."""
    everything: bool = False
    """Also what is left out to save time."""


@contextmanager
def snapshot(repository: Path) -> Iterator[Path]:
    """Give a copy of the working tree: somebody may be editing it while a guest runs for minutes."""
    with TemporaryDirectory(prefix="ebpflb-kernels-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(repository, tree, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
        (tree / ".venv").mkdir()  # where the guest finds the machine's
        yield tree


def boot(
    image: Image, repository: Path, tree: Path, console: Path, *, patience: Patience, settings: Settings
) -> Iterator[str]:
    """Give each line as the guest writes it; the guest ends by itself, or by force when patience ends.

    The guest sees ``tree`` in the repository's place. Raises ``GuestError`` after the last line.
    """
    errors = console.with_name("qemu.log")
    with (
        errors.open("w") as complaints,
        _started(_qemu(image, repository, tree, console, settings), complaints) as guest,
    ):
        watch = _Watch(guest, patience)
        assert guest.stdout is not None
        try:
            for line in guest.stdout:
                watch.heard()
                yield line.strip()
            guest.wait()
        finally:
            watch.end()
    verdict = watch.verdict or (f"QEMU ended with {guest.returncode}" if guest.returncode else "")
    if verdict:
        raise GuestError("\n".join([verdict, *_complaints(errors)]))


def _complaints(errors: Path) -> list[str]:
    """Return the first things that QEMU said; which features it does not emulate is of no interest."""
    lines = errors.read_text(errors="replace").splitlines()
    return [line for line in lines if "support requested feature" not in line][:3]


@contextmanager
def _started(command: list[str], complaints: TextIO) -> Iterator[subprocess.Popen[str]]:
    """Run QEMU for the length of the block, and no longer."""
    with subprocess.Popen(
        ["nice", "-n", "10", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        errors="replace",
    ) as guest:
        try:
            yield guest
        finally:
            guest.kill()


class _Watch:
    """Kills a guest when patience with it ends, and knows why."""

    def __init__(self, guest: subprocess.Popen[str], patience: Patience) -> None:
        self.verdict = ""
        self._guest, self._patience = guest, patience
        minutes = patience.whole / 60
        over = f"its {minutes:g} minutes are over: give it more (--minutes {2 * minutes:g})"
        self._limit = self._timer(patience.whole, over)
        self._silence = self._timer(*self._hang())

    def heard(self) -> None:
        """Begin to wait for the next line."""
        self._silence.cancel()
        self._silence = self._timer(*self._hang())

    def end(self) -> None:
        """Kill nobody from now on."""
        self._limit.cancel()
        self._silence.cancel()

    def _hang(self) -> tuple[float, str]:
        return (
            self._patience.silence,
            f"it said nothing for {self._patience.silence:g} s: it hangs, or has no processor (--silence: longer)",
        )

    def _timer(self, seconds: float, verdict: str) -> Timer:
        timer = Timer(seconds, self._kill, [verdict])
        timer.daemon = True
        timer.start()
        return timer

    def _kill(self, verdict: str) -> None:
        self.verdict = self.verdict or verdict
        self._guest.kill()


def _qemu(image: Image, repository: Path, tree: Path, console: Path, settings: Settings) -> list[str]:
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", settings.accelerator, "-cpu", "max"]
    command += ["-m", str(_MEMORY_MB), "-smp", str(_CPUS)]
    command += ["-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initramfs)]
    words = [_KERNEL_WORDS, f"REPOSITORY={repository}", f"{CHECKS}={settings.checks}"]
    command += ["-append", " ".join([*words, f"{EVERYTHING}=1"] if settings.everything else words)]
    command += ["-serial", f"file:{console}", "-serial", "stdio"]
    for tag, folder in (("machine", Path("/")), ("tree", tree), ("modules", image.modules)):
        share = f"local,path={folder},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"
        command += ["-virtfs", share]
    return command
