"""Names, types, labels and buckets of the metrics; docs/metrics.md lists all of them, and nothing else."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

import ebpflb
from ebpflb.core.abi import Counter, Family
from ebpflb.core.health import WithoutLocal
from ebpflb.host.http_messages import NOT_FOUND, Request
from ebpflb.host.metrics import Metrics
from ebpflb.host.metrics_facts import Facts, FamilyFacts
from ebpflb.host.metrics_pages import metrics_pages
from ebpflb.host.metrics_samples import VERDICTS
from ebpflb.reconcile.status import (
    FailedDevice,
    FailedRow,
    FamilyStatus,
    HealthPort,
    NodeStatus,
    RefusedObject,
    RoleHooks,
    Status,
    Usage,
    XdpDevice,
)

DOCUMENT = Path(ebpflb.__file__).parents[1] / "docs" / "metrics.md"
START = datetime(2026, 1, 2, tzinfo=UTC)
V4 = Family.IPV4


class Listed(NamedTuple):
    kind: str
    labels: frozenset[str]


NODE = NodeStatus(
    socket_programs=("a", "b"),
    devices=(RoleHooks("uplink", ("p",), ("eth0", "eth1")), RoleHooks("uplink", ("q",), ("wg0",))),
    failed=(FailedDevice("eth9", "uplink", "no", "look"),),
    xdp=(XdpDevice("eth0", "native"), XdpDevice("eth1")),
    repairs=3,
    health_ports=(HealthPort("shop/web", 1, {}), HealthPort("shop/api", 2, {}, "taken")),
)
STATUS = Status(
    node_name="n1",
    started_at=START,
    waiting_for=(),
    source_error="",
    objects={"Service": 2},
    refused=(RefusedObject("Service shop/web", "f", "r", "m"), RefusedObject("manifest x.yaml", "f", "r", "m")),
    families=(
        FamilyStatus(
            4,
            {"frontends": Usage(3, 64), "services": Usage(0, 8)},
            service_ports=5,
            refused=(
                RefusedObject("Service shop/web", "g", "r", "m"),
                RefusedObject("Service shop/api", "f", "r", "m"),
            ),
            failed_rows=(FailedRow("frontends", "k", "e"),),
            repairs=7,
        ),
    ),
    pending_since=START - timedelta(seconds=4),
    healthy=True,
    node=NODE,
)
FOUND = FamilyFacts(
    counters={Counter.FORWARDED: 11, Counter.DROP_TTL: 12, Counter.FLOW_CREATED: 13},
    flows={"established": 21},
    flow_maps={"flows": Usage(22, 100)},
    without_local=WithoutLocal(1, 2),
    load_seconds=1.5,
    is_compiled=True,
    unreadable=("counters",),
)
FACTS = Facts("1.2.3", STATUS, {V4: FOUND}, START.timestamp(), queued_s=100.0)


def samples_of(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text.decode())
    found: list[Sample] = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    return Metrics([V4], lambda: FACTS)


def test_the_document_lists_every_metric_and_no_other() -> None:
    """A metric with labels shows them only once it has a value: so everything happens once."""
    metrics = Metrics(list(Family), lambda: FACTS)
    for path in ("healthz", "livez"):
        metrics.on_answer(path, 200)
    shown: dict[str, Listed] = {}
    for text in (metrics.exposition(), metrics.slis()):
        for family in text_string_to_metric_families(text.decode()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels}
            shown[name] = Listed(family.type, frozenset(labels - {"le"}))
    of_process = {name for name in shown if name.startswith("process_")}
    assert of_process
    rows = re.findall(r"^\| `((?:kubeproxy|ebpflb)_\w+)` \| (\w+) \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    listed = {name: Listed(kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(listed) == len(rows)
    slis = {name: value for name, value in shown.items() if name.startswith("kubernetes_")}
    for name, value in slis.items():
        words = ", ".join(f"`{label}`" for label in ("name", "type", "status") if label in value.labels)
        assert f"`{name}` ({value.kind}: {words})" in DOCUMENT.read_text().replace("\n", " ")
    assert listed == {name: value for name, value in shown.items() if name not in of_process | slis.keys()}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total", {"ip_family": "IPv4", "traffic_policy": "internal"}, 1),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total", {"ip_family": "IPv4", "traffic_policy": "external"}, 2),
        ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", {"ip_family": "IPv4"}, 100),
        ("ebpflb_build_info", {"version": "1.2.3"}, 1),
        ("ebpflb_program_load_seconds", {"ip_family": "IPv4", "origin": "compiled"}, 1.5),
        ("ebpflb_healthy", {}, 1),
        ("ebpflb_source_up", {}, 1),
        ("ebpflb_objects", {"kind": "Service"}, 2),
        ("ebpflb_refused_objects", {"kind": "Service"}, 2),
        ("ebpflb_refused_objects", {"kind": "manifest"}, 1),
        ("ebpflb_refused_objects", {"kind": "EndpointSlice"}, 0),
        ("ebpflb_service_ports", {"ip_family": "IPv4"}, 5),
        ("ebpflb_map_entries", {"ip_family": "IPv4", "map": "frontends"}, 3),
        ("ebpflb_map_capacity", {"ip_family": "IPv4", "map": "frontends"}, 64),
        ("ebpflb_map_entries", {"ip_family": "IPv4", "map": "flows"}, 22),
        ("ebpflb_map_capacity", {"ip_family": "IPv4", "map": "flows"}, 100),
        ("ebpflb_failed_rows", {"ip_family": "IPv4", "map": "frontends"}, 1),
        ("ebpflb_failed_rows", {"ip_family": "IPv4", "map": "services"}, 0),
        ("ebpflb_map_rows_repaired_total", {"ip_family": "IPv4"}, 7),
        ("ebpflb_hooks_repaired_total", {}, 3),
        ("ebpflb_attached_devices", {"role": "uplink"}, 3),
        ("ebpflb_failed_devices", {"role": "uplink"}, 1),
        ("ebpflb_xdp_devices", {"mode": "native"}, 1),
        ("ebpflb_xdp_devices", {"mode": "none"}, 1),
        ("ebpflb_socket_programs", {}, 2),
        ("ebpflb_health_check_ports", {"state": "listening"}, 1),
        ("ebpflb_health_check_ports", {"state": "failed"}, 1),
        ("ebpflb_change_pending_seconds", {}, 4),
        ("ebpflb_flows", {"ip_family": "IPv4", "state": "established"}, 21),
        ("ebpflb_verdicts_total", {"ip_family": "IPv4", "verdict": "forwarded"}, 11),
        ("ebpflb_drops_total", {"ip_family": "IPv4", "reason": "ttl"}, 12),
        ("ebpflb_datapath_events_total", {"ip_family": "IPv4", "event": "flow_created"}, 13),
        ("ebpflb_unreadable_maps", {"ip_family": "IPv4", "map": "counters"}, 1),
    ],
)
def test_what_is_read_when_asked(metrics: Metrics, name: str, labels: dict[str, str], value: float) -> None:
    assert samples_of(metrics.exposition())[name, frozenset(labels.items())] == value


def test_before_the_first_round_a_scrape_works() -> None:
    found = {name for name, _ in samples_of(Metrics([V4], lambda: Facts("1")).exposition())}
    assert "ebpflb_build_info" in found
    assert "kubeproxy_sync_proxy_rules_last_timestamp_seconds" in found
    assert "ebpflb_healthy" not in found


def test_a_scrape_reads_once() -> None:
    reads: list[int] = []

    def read() -> Facts:
        reads.append(1)
        return FACTS

    metrics = Metrics([V4], read)
    assert reads == []
    metrics.exposition()
    assert reads == [1]


def test_every_counter_of_the_programs_is_in_one_metric() -> None:
    facts = Facts(families={V4: FamilyFacts(counters={each: each + 1 for each in Counter})})
    found = samples_of(Metrics([V4], lambda: facts).exposition())
    of_programs = ("ebpflb_verdicts_total", "ebpflb_drops_total", "ebpflb_datapath_events_total")
    assert sorted(value for (name, _), value in found.items() if name in of_programs) == [each + 1 for each in Counter]
    drops = {dict(labels)["reason"] for name, labels in found if name == "ebpflb_drops_total"}
    assert drops == {each.name[5:].lower() for each in Counter if each.name.startswith("DROP_")}
    assert not any(each.name.startswith("DROP_") for each in VERDICTS)


def test_what_is_counted_as_it_happens(metrics: Metrics) -> None:
    metrics.on_sync(V4, 0.003, is_full=True, succeeded=True, at_s=101.0)
    metrics.on_sync(V4, 0.003, is_full=False, succeeded=False, at_s=102.0)
    metrics.on_changes(2, 3)
    metrics.on_pending(1, 2)
    metrics.on_programmed(V4, 0.3)
    metrics.on_swept(V4, 0.02, removed=4, sockets_closed=5)
    for code in (200, 503):
        metrics.on_answer("healthz", code)
    metrics.on_answer("livez", 200)
    found = samples_of(metrics.exposition())
    v4 = ("ip_family", "IPv4")

    def value(name: str, *labels: tuple[str, str]) -> float:
        return found[name, frozenset(labels)]

    syncs = "kubeproxy_sync_proxy_rules_duration_seconds"
    assert value(f"{syncs}_count", v4) == 2
    assert value(f"{syncs}_bucket", v4, ("le", "0.002")) == 0
    assert value(f"{syncs}_bucket", v4, ("le", "0.004")) == 2
    assert value("kubeproxy_sync_full_proxy_rules_duration_seconds_count", v4) == 1
    assert value("kubeproxy_sync_partial_proxy_rules_duration_seconds_count", v4) == 1
    assert value("kubeproxy_sync_proxy_rules_last_timestamp_seconds", v4) == 101
    assert value("ebpflb_sync_failures_total", v4) == 1
    assert value("kubeproxy_sync_proxy_rules_service_changes_total") == 2
    assert value("kubeproxy_sync_proxy_rules_endpoint_changes_total") == 3
    assert value("kubeproxy_sync_proxy_rules_service_changes_pending") == 1
    assert value("kubeproxy_sync_proxy_rules_endpoint_changes_pending") == 2
    assert value("kubeproxy_network_programming_duration_seconds_bucket", v4, ("le", "0.25")) == 0
    assert value("kubeproxy_network_programming_duration_seconds_bucket", v4, ("le", "0.5")) == 1
    assert value("kubeproxy_conntrack_reconciler_sync_duration_seconds_count", v4) == 1
    assert value("kubeproxy_conntrack_reconciler_deleted_entries_total", v4) == 4
    assert value("ebpflb_sockets_closed_total", v4) == 5
    assert value("kubeproxy_proxy_healthz_total", ("code", "200")) == 1
    assert value("kubeproxy_proxy_healthz_total", ("code", "503")) == 1
    assert value("kubeproxy_proxy_livez_total", ("code", "200")) == 1
    found = samples_of(metrics.slis())
    healthz = (("name", "proxy"), ("type", "healthz"))
    assert value("kubernetes_healthcheck", *healthz) == 0
    for status in ("success", "error"):
        assert value("kubernetes_healthchecks_total", *healthz, ("status", status)) == 1


def test_pages(metrics: Metrics) -> None:
    handle = metrics_pages(metrics, "ebpf", '{"mode": ""}')

    def page(path: str) -> tuple[str | bytes, str]:
        response = handle(Request(path, "127.0.0.1"))
        return response.body, response.content_type

    assert page("/healthz") == ("ok", "text/plain; charset=utf-8")
    assert page("/proxyMode") == ("ebpf", "text/plain; charset=utf-8")
    assert page("/configz") == ('{"kubeproxy.config.k8s.io": {"mode": ""}}', "application/json")
    text, content_type = page("/metrics")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert isinstance(text, bytes)
    assert b"kubeproxy_sync_proxy_rules_duration_seconds_bucket" in text
    assert page("/metrics/slis")[1] == "text/plain; version=0.0.4; charset=utf-8"
    assert handle(Request("/metrics/", "127.0.0.1")) == NOT_FOUND
