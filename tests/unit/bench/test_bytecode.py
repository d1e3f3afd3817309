import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflb.bench import bytecode
from ebpflb.bench.bytecode import bytecode_at_hand

SHOW = "import sys, ebpflb.errors; print(sys.dont_write_bytecode, ebpflb.errors.__cached__)"


def test_what_is_started_finds_byte_code_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setattr(bytecode, "_LOADED", ("ebpflb.errors",))
    monkeypatch.setattr(bytecode, "_BY_CHILD", "ebpflb.core.abi")
    with bytecode_at_hand():
        folder = Path(os.environ["PYTHONPYCACHEPREFIX"])
        written = sorted(folder.rglob("*.pyc"))
        assert {"errors", "abi"} <= {path.name.partition(".")[0] for path in written}
        shown = subprocess.run([sys.executable, "-c", SHOW], check=True, capture_output=True, text=True).stdout.split()
        assert (shown[0], Path(shown[1]) in written) == ("False", True)
    assert (os.environ["PYTHONDONTWRITEBYTECODE"], "PYTHONPYCACHEPREFIX" in os.environ) == ("1", False)
    assert not folder.exists()
