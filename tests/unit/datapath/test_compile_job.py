"""What the compiler's child is told of this machine."""

import platform

import pytest

from ebpflb.datapath import compile_job
from ebpflb.datapath.compile_job import include_flags, kernel_version_code


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
