"""A pytest plugin for guests (``-p tests.kernels.patience``): time for an emulated machine to compile and to test.

``compiling()`` and a plugin's hook --> longer limits. What is too slow on a real machine, other runs of the tests show.
"""

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
