"""What guests run is there: `make kernels` runs on demand, and a renamed file would be missed late."""

from pathlib import Path

import pytest

from tests.kernels.suites import suites

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("everything", [False, True])
def test_every_file_of_every_session_exists(monkeypatch: pytest.MonkeyPatch, *, everything: bool) -> None:
    monkeypatch.chdir(REPOSITORY)
    for suite in suites(everything=everything):
        assert suite.files
        assert [file for file in suite.files if not Path(file).is_file()] == []
