"""Which instances have left something in the state folder. Where the files are is the agent's decision.

state folder -> status_file, instances_with_state
"""

from pathlib import Path

from ebpflb.agent.config import status_path
from ebpflb.reconcile.status import StatusFile


def status_file(state_dir: Path, instance: str) -> StatusFile:
    """Return the file in which the agent of an instance leaves its status."""
    return StatusFile(status_path(state_dir, instance))


def instances_with_state(state_dir: Path) -> list[str]:
    """Return the instances that have left a status."""
    suffix = status_path(state_dir, "").name
    return sorted(path.name.removesuffix(suffix) for path in state_dir.glob(f"*{suffix}"))
