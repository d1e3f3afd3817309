"""The load generator compiles, and says so where it cannot."""

from pathlib import Path

import pytest

from ebpflb.bench.generator.tools import compile_tools
from ebpflb.errors import PrerequisiteError


def test_without_a_compiler_the_remedy_is_told() -> None:
    with pytest.raises(PrerequisiteError, match=r"needs a C compiler.*apt-get install gcc"):
        compile_tools(Path(), path="")


def test_what_the_compiler_says_is_told(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho no such header >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    with pytest.raises(PrerequisiteError, match="does not compile: no such header"):
        compile_tools(tmp_path, path=str(tmp_path))
