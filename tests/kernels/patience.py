"""Time for an emulated machine to compile and to test. What is too slow on a real machine, other runs show.

as a pytest plugin (``-p tests.kernels.patience``), as ``python -m tests.kernels.patience COMMAND...``: longer limits

The latter runs the command of ebpflb that is given.
"""

import runpy
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import pytest

SECONDS = 1500
"""For one build, one test. A busy host gives a guest a tenth of a processor."""


def compiling() -> AbstractContextManager[Any]:
    """Have builds wait for the compiler, for the length of the block."""
    return mock.patch("ebpflb.datapath.compile_job._COMPILE_SECONDS", SECONDS)


@pytest.fixture(scope="session", autouse=True)
def _compiling() -> Iterator[None]:
    with compiling():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test as long, also those that say how long they may take."""
    for item in items:
        item.add_marker(pytest.mark.timeout(SECONDS), append=False)


if __name__ == "__main__":
    with compiling():
        runpy.run_module("ebpflb", run_name="__main__", alter_sys=True)
