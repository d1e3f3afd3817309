"""What one scrape reads, as a value: the agent gathers it, ``metrics_scrape`` makes metrics of it.

No decision is made here.

    status, maps, builds --agent--> Facts --> metrics
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ebpflb.core.abi import Counter, Family
from ebpflb.core.health import WithoutLocal
from ebpflb.reconcile.status import Status, Usage


@dataclass(frozen=True, slots=True)
class FamilyFacts:
    """What one family's maps and programs say."""

    counters: Mapping[Counter, int] = field(default_factory=dict)
    flows: Mapping[str, int] = field(default_factory=dict)
    """By state, as the last sweep left them."""
    flow_maps: Mapping[str, Usage] = field(default_factory=dict)
    without_local: WithoutLocal = field(default_factory=WithoutLocal)
    load_seconds: float = 0.0
    is_compiled: bool = False
    """The programs were compiled by this process, rather than taken over."""
    unreadable: tuple[str, ...] = ()
    """Maps that could not be read for this scrape."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that one scrape reads."""

    version: str = ""
    status: Status | None = None
    """``None``: the loop has not run yet."""
    families: Mapping[Family, FamilyFacts] = field(default_factory=dict)
    now_s: float = 0.0
    queued_s: float = 0.0
    """When a change last came that may be written; 0: none has."""
