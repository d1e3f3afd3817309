"""What an agent's process never holds: each of these is larger than all that it is used for, or belongs to a child."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import ebpflb.cli.run, ebpflb.cli.run_node, ebpflb.kube.watch, ebpflb.kube.events
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
FOREIGN = {
    "kubernetes": "reads credentials in a child (ADR 30)",
    "bcc": "compiles in a child (ADR 1)",
    "matplotlib": "draws the report of `ebpflb bench`",
    "rich": "draws the progress of `ebpflb bench`",
    "requests": "comes with kubernetes",
    "scapy": "is for tests",
}


@pytest.fixture(name="loaded", scope="module")
def _loaded() -> set[str]:
    out = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60).stdout
    return set(json.loads(out))


def test_what_run_imports(loaded: set[str]) -> None:
    assert {"ebpflb", "click", "numpy", "pyroute2", "urllib3"} <= loaded, "else this test looks at nothing"


@pytest.mark.parametrize("name", FOREIGN)
def test_what_run_does_not_import(loaded: set[str], name: str) -> None:
    assert name not in loaded, f"{name} {FOREIGN[name]}"
