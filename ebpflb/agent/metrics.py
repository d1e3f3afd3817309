"""Gathers what the metrics say: hears of rounds and sweeps as they come, reads maps when somebody asks.

Decides which change of an EndpointSlice is timed; until when one is pending is ``core.pending``'s to say. Must not know
names of metrics.

    loop: on_round, on_status -------------------+
    Sweeping: on_sweep --------------------------+--> Metrics (at once) and Facts (per scrape)
    per-CPU maps, Inbox: read per scrape --------+

Whoever asks does so in an HTTP thread: the loop only leaves references behind, to values that nobody changes.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import numpy as np

from ebpflb import __version__
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.sweeping import Sweep
from ebpflb.core.abi import Counter, Family
from ebpflb.core.health import WithoutLocal, count_without_local
from ebpflb.core.pending import PendingChanges
from ebpflb.core.tables import Tables
from ebpflb.datapath.build import Build
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.store import open_map
from ebpflb.errors import EbpflbError
from ebpflb.host.metrics import Metrics
from ebpflb.host.metrics_facts import Facts, FamilyFacts
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import SourceView
from ebpflb.reconcile.rounds import Round
from ebpflb.reconcile.status import Status, Usage

log = logging.getLogger(__name__)

COUNTERS = "counters"
FLOW_MAPS = ("flows", "pending")


class Meter:
    """Implements ``reconcile.rounds.Observer``. A context manager that owns the maps it reads."""

    def __init__(
        self,
        config: AgentConfig,
        builds: Mapping[Family, Build],
        source: Callable[[], SourceView],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._builds = dict(builds)
        self._source = source
        self._now_s = now_s
        self._started_at = datetime.fromtimestamp(now_s(), UTC)
        self._lock = threading.Lock()
        self._pending = PendingChanges(config.families)
        self._status: Status | None = None
        self._tables: dict[Family, Tables] = {}
        self._without_local: dict[Family, tuple[Tables, WithoutLocal]] = {}
        self._sweeps: dict[Family, Sweep] = {}
        self.metrics = Metrics(config.families, self.facts)
        with ExitStack() as stack:
            self._counters: dict[Family, BpfMap] = {
                family: stack.enter_context(open_map(config.pins, family, COUNTERS)) for family in config.families
            }
            self._resources = stack.pop_all()
        self._flow_maps = {family: _capacities(config, family) for family in config.families}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the maps."""
        self._resources.close()

    # -- the loop's thread ---------------------------------------------------------------------------------------------

    def on_batch(self, batch: Batch) -> None:
        """Need not hear that changes are about to be written: of each the inbox has said when it came."""

    def on_round(self, done: Round) -> None:
        """Hear how a round ended; what was written is looked at only now, when nobody waits for it."""
        at_s = done.ended_at.timestamp()
        for sync in done.syncs:
            self._tables[sync.family] = sync.tables
            self.metrics.on_sync(
                *(sync.family, sync.seconds), is_full=sync.is_full, succeeded=sync.succeeded, at_s=at_s
            )
        if done.batch is not None:
            changes = done.batch.changes
            self._pending.take(changes, done.unsettled_since)
            self.metrics.on_changes(len(changes.services.keys()), len(changes.slices.keys()))
        self._settle(done)

    def _settle(self, done: Round) -> None:
        """Time the changes that are in the maps of their family."""
        for family, moment in self._pending.settle(done.unsettled_since):
            if moment > self._started_at:  # what was so before was not our doing
                self.metrics.on_programmed(family, max(0.0, (done.ended_at - moment).total_seconds()))
        self.metrics.on_pending(*self._pending.counts())

    def on_status(self, status: Status) -> None:
        """Take the latest status."""
        self._status = status

    # -- the sweep's thread --------------------------------------------------------------------------------------------

    def on_sweep(self, sweep: Sweep) -> None:
        """Hear of one sweep of one family."""
        self._sweeps[sweep.family] = sweep
        removed = sum(sweep.result.removed.values())
        self.metrics.on_swept(sweep.family, sweep.seconds, removed=removed, sockets_closed=sweep.sockets_closed)

    # -- who scrapes ---------------------------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """Read everything that one scrape shows."""
        with self._lock:
            families = {family: self._facts_of(family) for family in self._counters}
        return Facts(__version__, self._status, families, self._now_s(), self._queued_s())

    def _queued_s(self) -> float:
        """Return when a change last came. Before everything was listed none is queued: nothing may be written.

        It is not the loop that is asked, which may hang: whoever compares this to the last round's time shall see it.
        """
        view = self._source()
        return 0.0 if view.missing or view.last_change_at is None else view.last_change_at.timestamp()

    def _facts_of(self, family: Family) -> FamilyFacts:
        counters = self._read_counters(family)
        build, sweep = self._builds[family], self._sweeps.get(family)
        return FamilyFacts(
            counters=counters or {},
            flows=dict(_flows(sweep)) if sweep else {},
            flow_maps=self._usage(sweep) if sweep else {},
            without_local=self._count_without_local(family),
            load_seconds=build.seconds,
            is_compiled=build.compiled,
            unreadable=() if counters is not None else (COUNTERS,),
        )

    def _count_without_local(self, family: Family) -> WithoutLocal:
        """Walk a family's frontends, of which there may be very many, once for as long as they are the same ones."""
        tables = self._tables.get(family)
        if tables is None:
            return WithoutLocal()
        counted, found = self._without_local.get(family, (None, WithoutLocal()))
        if counted is not tables:
            found = count_without_local(tables)
            self._without_local[family] = tables, found
        return found

    def _usage(self, sweep: Sweep) -> dict[str, Usage]:
        capacities = self._flow_maps[sweep.family]
        return {name: Usage(sweep.result.entries[name], capacity) for name, capacity in capacities.items()}

    def _read_counters(self, family: Family) -> dict[Counter, int] | None:
        try:
            keys, values = self._counters[family].read()
        except (EbpflbError, OSError) as error:
            log.warning("metrics_unreadable family=%s map=%s error=%s", family.name, COUNTERS, error)
            return None
        known = {each.value for each in Counter}
        sums = values.sum(axis=1, dtype=np.uint64).tolist()
        return {Counter(key): count for key, count in zip(keys.tolist(), sums, strict=True) if key in known}


def _flows(sweep: Sweep) -> Iterator[tuple[str, int]]:
    yield from ((state.words, count) for state, count in sweep.result.flows.items())


def _capacities(config: AgentConfig, family: Family) -> dict[str, int]:
    capacities = {}
    for name in FLOW_MAPS:
        with open_map(config.pins, family, name) as opened:
            capacities[name] = opened.info.max_entries
    return capacities
