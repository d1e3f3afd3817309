"""Where an instance leaves what others read: its status file. The lock beside it is ``host/lock.py``'s.

state folder, instance -> status_file, instances_with_state
"""

from pathlib import Path
from typing import Final

from ebpflb.reconcile.status import StatusFile

_SUFFIX: Final = ".status.json"


def status_file(state_dir: Path, instance: str) -> StatusFile:
    """Return the file in which the agent of an instance leaves its status."""
    return StatusFile(state_dir / f"{instance}{_SUFFIX}")


def instances_with_state(state_dir: Path) -> list[str]:
    """Return the instances that have left a status."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in state_dir.glob(f"*{_SUFFIX}"))
