"""Tells the kernel how gladly to kill this process when memory runs out.

value --> /proc/self/oom_score_adj --> what could not be done, or ""
"""

from pathlib import Path
from typing import Final

PROCESS: Final = Path("/proc/self")


def set_oom_score_adj(value: int, process: Path = PROCESS) -> str:
    """Write the value if it is another one; return why that failed (lowering it takes CAP_SYS_RESOURCE), or ""."""
    path = process / "oom_score_adj"
    try:
        if path.read_text().strip() != str(value):
            path.write_text(str(value))
    except OSError as error:
        return f"{path} cannot be set to {value} ({error.strerror}); give the agent CAP_SYS_RESOURCE, or oomScoreAdj: 0"
    return ""
