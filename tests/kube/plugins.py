"""Kubeconfigs whose exec plugins are shell scripts, and what becomes of those."""

import json
import time
from pathlib import Path
from typing import Any

URL = "https://127.0.0.1:1"


def write(path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    document = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": URL, **cluster}}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(json.dumps(document))
    return path


def plugin(folder: Path, script: str) -> dict[str, Any]:
    """Return a user whose credentials a shell script prints."""
    path = folder / "plugin.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path)}}


def hanging(folder: Path) -> tuple[Path, Path]:
    """Return a kubeconfig whose plugin never ends, and where the plugin writes its process id."""
    pid = folder / "pid"
    return write(folder / "config", plugin(folder, f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 1000")), pid


def await_plugin(pid: Path) -> int:
    deadline = time.monotonic() + 60
    while not pid.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(pid.read_text())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
