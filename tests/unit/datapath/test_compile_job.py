"""What the compiler's child is told of this machine, and what is told of its end."""

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflb.datapath import compile_job
from ebpflb.datapath.compile_job import compile_units, include_flags, kernel_version_code
from ebpflb.errors import BuildError


@pytest.mark.parametrize(
    ("release", "code"),
    [
        ("6.1.0-18-amd64", 0x060100),
        ("5.10.209", 0x050AD1),
        ("4.19.300-x", 0x0413FF),  # the field has eight bits
        ("6.18", 0x061200),
        ("unheard of", 0x050A00),
    ],
)
def test_kernel_version_code(monkeypatch: pytest.MonkeyPatch, release: str, code: int) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    assert kernel_version_code() == code


def test_headers_of_the_architecture_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ["-idirafter", "/usr/include"]
    monkeypatch.setattr(compile_job, "_MULTIARCH", "aarch64-linux-gnu")
    assert include_flags() == [*plain, "-idirafter", "/usr/include/aarch64-linux-gnu"]
    monkeypatch.setattr(compile_job, "_MULTIARCH", None)
    assert include_flags() == plain


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, r"ended by signal SIGKILL; if memory ran out .* give the agent \d+ MB more"),
        (signal.SIGTERM, "ended by signal SIGTERM; report this text"),
        (signal.SIGRTMIN + 3, rf"ended by signal {signal.SIGRTMIN + 3}; report this text"),
    ],
)
def test_a_compiler_that_a_signal_ends_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    child = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **keywords: run(child, **keywords))
    with pytest.raises(BuildError, match=rf"^the IPV4 programs cannot be built: the compiler was {words}") as caught:
        compile_units("the IPV4 programs", [], [], Path("/nowhere"))
    assert "\n" not in str(caught.value)


def test_a_compiler_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    child = [sys.executable, "-c", "import signal; signal.pause()"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **keywords: run(child, **{**keywords, "timeout": 0.01}))
    with pytest.raises(BuildError, match=r"the IPV4 programs cannot be built .*\nthe compiler did not end within"):
        compile_units("the IPV4 programs", [], [], Path("/nowhere"))
