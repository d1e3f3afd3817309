"""What the meter makes of rounds and sweeps, and what it reads when somebody asks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import Mock

import numpy as np
import pytest

from ebpflb.agent import metrics
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.metrics import Meter
from ebpflb.agent.sweeping import Sweep
from ebpflb.core.abi import Counter, Family
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.health import WithoutLocal
from ebpflb.core.model import ServiceType, Snapshot
from ebpflb.core.tables import Tables
from ebpflb.datapath.build import Build
from ebpflb.datapath.expiry import FlowState
from ebpflb.datapath.sweep import SweepResult
from ebpflb.errors import MapError
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import SourceView
from ebpflb.reconcile.rounds import Round, Sync
from ebpflb.reconcile.status import Usage
from tests.story import Story
from tests.unit.core.factories import HERE, NODE_HTTP, ROOMY, endpoint, endpoint_slice, service, snapshot

START = datetime(2026, 1, 2, tzinfo=UTC)
V4, V6 = Family.IPV4, Family.IPV6
CONFIG = AgentConfig(HERE, families=(V4,))


class FakeMap:
    """Per-CPU counters of two CPUs, one of them of a later version."""

    def __init__(self, _pins: object, _family: Family, name: str) -> None:
        self.info = SimpleNamespace(max_entries={"flows": 100, "pending": 50}.get(name, 3))
        self.error: Exception | None = None
        self.closed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def read(self) -> tuple[Any, Any]:
        if self.error is not None:
            raise self.error
        keys = np.array([Counter.FORWARDED, Counter.DROP_TTL, 9999], np.uint32)
        return keys, np.array([[1, 2], [3, 4], [5, 6]], np.uint64)


class Recorder:
    """Stands in for the metrics: what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.heard.append((name, *args, *kwargs.values()))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in self.heard if entry[0] == name]


@dataclass
class Source:
    """What the inbox says."""

    view: SourceView


@pytest.fixture(name="source")
def _source() -> Source:
    return Source(SourceView((), "", {}, (), None))


@pytest.fixture(name="meter")
def _meter(monkeypatch: pytest.MonkeyPatch, source: Source) -> Iterator[Meter]:
    monkeypatch.setattr(metrics, "open_map", FakeMap)
    builds = {V4: Build("key", {}, compiled=True, seconds=1.5, instructions={})}
    with Meter(CONFIG, builds, lambda: source.view, now_s=START.timestamp) as meter:
        yield meter


@pytest.fixture(name="told")
def _told(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(meter, "metrics", recorder)
    return recorder


TOLD: list[Story] = []
"""The one of the test that runs."""


@pytest.fixture(autouse=True)
def _story() -> None:
    TOLD[:] = [Story()]


def batch(given: Snapshot) -> Batch:
    return TOLD[0].batch(given, START)


def ended(given: Batch | None, seconds: float, *unsettled: Family, tables: Tables | None = None) -> Round:
    sync = Sync(V4, 0.01, is_full=True, succeeded=not unsettled, tables=tables or Tables(V4))
    return Round(given, (sync,), START + timedelta(seconds=seconds), dict.fromkeys(unsettled, START))


def dated(seconds: float, **rest: Any) -> Any:
    moment = START + timedelta(seconds=seconds)
    return replace(endpoint_slice(endpoint("10.0.0.1"), **rest), triggered_at=moment.isoformat())


def test_rounds_are_passed_on(meter: Meter, told: Recorder) -> None:
    given = batch(snapshot(service(), endpoint_slice()))
    meter.on_batch(given)
    assert told.heard == []
    meter.on_round(ended(given, 1))
    assert told.of("on_sync") == [(V4, 0.01, True, True, START.timestamp() + 1)]
    assert told.of("on_changes") == [(1, 1)]
    assert told.of("on_pending") == [(0, 0)]
    meter.on_round(ended(None, 2))
    assert told.of("on_changes") == [(1, 1)]


def test_changes_are_pending_until_every_family_has_them(meter: Meter, told: Recorder) -> None:
    meter.on_round(ended(batch(snapshot(service("a"))), 1, V4))
    meter.on_round(ended(batch(snapshot(service("a"), service("b"), endpoint_slice())), 2, V4))
    meter.on_round(ended(None, 3))
    assert told.of("on_pending") == [(1, 0), (2, 1), (0, 0)]


def test_what_changes_again_and_again_is_one_pending_object_and_is_timed_once(meter: Meter, told: Recorder) -> None:
    for seconds in range(1, 5):
        ip = f"10.96.0.{seconds}"
        meter.on_round(ended(batch(snapshot(service("a", ip=ip), dated(seconds))), seconds, V4))
    assert told.of("on_pending") == [(1, 1)] * 4
    assert told.of("on_changes") == [(1, 1)] * 4
    meter.on_round(ended(None, 9))
    assert told.of("on_programmed") == [(V4, 8.0)]
    assert told.of("on_pending")[-1] == (0, 0)


def test_a_dated_change_is_timed_when_it_is_in_the_maps(meter: Meter, told: Recorder) -> None:
    meter.on_round(ended(batch(snapshot(dated(1))), 3, V4))
    assert told.of("on_programmed") == []
    meter.on_round(ended(None, 5))
    assert told.of("on_programmed") == [(V4, 4.0)]
    meter.on_round(ended(None, 6))
    assert len(told.of("on_programmed")) == 1


def test_what_was_so_before_the_start_or_is_of_no_served_family_is_not_timed(meter: Meter, told: Recorder) -> None:
    old, other = dated(-1, name="a"), dated(1, name="b", family=V6)
    meter.on_round(ended(batch(snapshot(old, other, dated(4, name="c"))), 3))
    assert told.of("on_programmed") == [(V4, 0.0)]  # of clocks that differ, none goes back


def test_facts_are_read_when_asked(meter: Meter) -> None:
    local = service(type=ServiceType.NODE_PORT, ports=[NODE_HTTP], internal_local=True)
    objects = snapshot(local, endpoint_slice(endpoint("10.0.0.2", "n2")))
    tables = compile_tables(objects, V4, Allocation(), ROOMY).tables
    meter.on_round(ended(batch(objects), 1, tables=tables))
    result = SweepResult({"flows": 7, "pending": 8}, {"closed": 2, "backend-gone": 1}, {FlowState.ESTABLISHED: 6})
    meter.on_sweep(Sweep(V4, 0.5, result, 4))
    found = meter.facts().families[V4]
    assert found.counters == {Counter.FORWARDED: 3, Counter.DROP_TTL: 7}
    assert found.flows == {"established": 6}
    assert found.flow_maps == {"flows": Usage(7, 100), "pending": Usage(8, 50)}
    assert found.without_local == WithoutLocal(1, 0)
    assert (found.load_seconds, found.is_compiled, found.unreadable) == (1.5, True, ())
    text = meter.metrics.exposition().decode()
    assert 'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 3.0' in text
    assert 'ebpflb_sockets_closed_total{ip_family="IPv4"} 4.0' in text


def test_frontends_are_walked_once_for_as_long_as_they_are_the_same(
    meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Mock(return_value=WithoutLocal(2, 3))
    monkeypatch.setattr(metrics, "count_without_local", walk)
    assert meter.facts().families[V4].without_local == WithoutLocal()
    one, two = Tables(V4), Tables(V4)
    for tables in (one, two):
        meter.on_round(ended(None, 1, tables=tables))
        assert [meter.facts().families[V4].without_local for _ in range(3)] == [WithoutLocal(2, 3)] * 3
    assert [id(call.args[0]) for call in walk.call_args_list] == [id(one), id(two)]


@pytest.mark.parametrize("error", [MapError("no"), OSError("no")])
def test_a_map_that_cannot_be_read_is_named_and_the_rest_is_shown(
    meter: Meter, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    meter._counters[V4].error = error  # type: ignore[attr-defined]
    found = meter.facts().families[V4]
    assert (found.counters, found.unreadable) == ({}, ("counters",))
    text = meter.metrics.exposition().decode()
    assert 'ebpflb_unreadable_maps{ip_family="IPv4",map="counters"} 1.0' in text
    assert 'ebpflb_program_load_seconds{ip_family="IPv4",origin="compiled"} 1.5' in text
    assert "metrics_unreadable" in caplog.text


def test_a_change_that_comes_while_a_round_hangs_is_queued_after_the_last_round(meter: Meter, source: Source) -> None:
    meter.on_round(ended(batch(snapshot(service())), 1))
    meter.on_batch(batch(snapshot(service("b"))))
    source.view = replace(source.view, pending_since=START, last_change_at=START + timedelta(seconds=90))
    text = meter.metrics.exposition().decode()
    form = r'kubeproxy_sync_proxy_rules_(last|last_queued)_timestamp_seconds\{ip_family="IPv4"\} (.+)'
    found = {name: float(value) - START.timestamp() for name, value in re.findall(form, text)}
    assert found == {"last": 1, "last_queued": 90}


def test_before_everything_is_listed_nothing_is_queued(meter: Meter, source: Source) -> None:
    source.view = replace(source.view, missing=("EndpointSlice",), last_change_at=START)
    assert meter.facts().queued_s == 0
    source.view = replace(source.view, missing=())
    assert meter.facts().queued_s == START.timestamp()


def test_before_anything_has_happened_there_are_facts(meter: Meter) -> None:
    facts = meter.facts()
    assert facts.status is None
    assert facts.families[V4].flow_maps == {}
    assert facts.now_s == START.timestamp()
