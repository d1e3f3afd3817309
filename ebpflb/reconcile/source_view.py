"""What is known of the sources at one moment. No decision is made here.

Inbox --view--> SourceView --> status, health, metrics
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ebpflb.errors import ObjectError
from ebpflb.reconcile.ports import Kind


@dataclass(frozen=True, slots=True)
class SourceView:
    """What ``status`` shows of the sources."""

    missing: tuple[str, ...]
    """What has not been delivered yet: nothing is programmed before."""
    error: str
    """Why the source is not up to date; empty: it is."""
    objects: Mapping[Kind, int]
    refused: tuple[ObjectError, ...]
    pending_since: datetime | None
    """When the oldest change that no batch has taken arrived."""
    last_change_at: datetime | None = None
    """When the newest change arrived, taken or not."""
