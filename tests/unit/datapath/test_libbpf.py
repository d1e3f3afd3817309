"""How failures read, without a kernel."""

import errno
from collections.abc import Iterator

import pytest

from ebpflb.datapath import libbpf
from ebpflb.errors import MapError, MapFullError, PrerequisiteError


@pytest.fixture
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    libbpf.library.cache_clear()
    yield
    monkeypatch.undo()
    libbpf.library.cache_clear()


def test_a_missing_library_says_what_to_install(fresh_library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "_SONAME", "libbpf-that-is-not.so.1")
    with pytest.raises(PrerequisiteError, match="apt-get install libbpf1"):
        libbpf.library()


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EPERM, PrerequisiteError, "CAP_BPF"),
        (errno.EACCES, PrerequisiteError, "run as root"),
        (errno.E2BIG, MapFullError, "more entries"),
        (errno.ENOENT, MapError, "No such file"),
    ],
)
def test_a_failure_names_operation_object_and_remedy(number: int, kind: type[Exception], words: str) -> None:
    error = libbpf.failure("update", "map flows", number)
    assert type(error) is kind
    assert str(error).startswith("update map flows: ")
    assert words in str(error)


def test_a_row_that_is_refused_is_always_a_map_error() -> None:
    assert type(libbpf.map_error("put", "frontends 10.0.0.1:80/TCP", errno.EPERM)) is MapError
