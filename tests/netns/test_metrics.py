"""A scraper reads an agent's metrics over real HTTP, and they tell what is in the kernel."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ebpflb.bench.control import measure, start_server
from ebpflb.bench.topology import Lab
from tests.netns.health_helpers import HEALTHZ, LOCAL, METRICS, a_node, balanced, fetch
from tests.netns.life_helpers import SOON_S, LifeAgent, agent_on, slice_of, tcp_service, until, write_objects

pytestmark = pytest.mark.root

WEB, OTHER = "10.96.0.10", "10.96.0.11"
V4 = {"ip_family": "IPv4"}
KUBE_PROXY = {
    "kubeproxy_sync_proxy_rules_duration_seconds": "histogram",
    "kubeproxy_sync_full_proxy_rules_duration_seconds": "histogram",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": "histogram",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds": "gauge",
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds": "gauge",
    "kubeproxy_network_programming_duration_seconds": "histogram",
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending": "gauge",
    "kubeproxy_sync_proxy_rules_endpoint_changes": "counter",
    "kubeproxy_sync_proxy_rules_service_changes_pending": "gauge",
    "kubeproxy_sync_proxy_rules_service_changes": "counter",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total": "gauge",
    "kubeproxy_proxy_healthz": "counter",
    "kubeproxy_proxy_livez": "counter",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": "histogram",
    "kubeproxy_conntrack_reconciler_deleted_entries": "counter",
}
"""As semantics §3 has them; the parser takes a counter's suffix away."""
CHANGES = "kubeproxy_sync_proxy_rules_{}_changes"
BY_FAMILY = {name for name, kind in KUBE_PROXY.items() if kind == "histogram"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("metrics", nodes=2, pods_per_node=2) as built:
        for pod in built.pods:
            start_server(pod)
        yield built


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


@pytest.fixture(scope="module")
def agent(lab: Lab, folder: Path) -> Iterator[LifeAgent]:
    with agent_on(lab.node(1), "--manifests", str(folder)) as running:
        # An agent is ready when its maps are: that its ports are open is another matter.
        for port in (METRICS, HEALTHZ):
            until(partial(is_open, lab, port))
        yield running


def is_open(lab: Lab, port: int) -> bool:
    return fetch(lab.node(1), LOCAL, port).code != 0


class Scrape:
    """One answer of /metrics, parsed as Prometheus would."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def has(self, name: str, at_least: float, /, **labels: str) -> bool:
        """Return whether there is such a sample, and of so much."""
        return self._values.get((name, frozenset(labels.items())), float("-inf")) >= at_least

    def value(self, name: str, labels: Mapping[str, str] | None = None, /, **more: str) -> float:
        return self._values[name, frozenset({**(labels or {}), **more}.items())]


def scrape(lab: Lab) -> Scrape:
    answer = fetch(lab.node(1), LOCAL, METRICS, "/metrics")
    assert answer.code == 200
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.body)


def until_told(lab: Lab, before: Scrape, *, services: int, endpoints: int) -> None:
    """Wait until the round that wrote so many more changes has told of them: its rows are there a moment before."""
    grown = {CHANGES.format("service"): services, CHANGES.format("endpoint"): endpoints}
    totals = {f"{name}_total": before.value(f"{name}_total") + count for name, count in grown.items()}

    def are_told() -> bool:
        now = scrape(lab)
        return all(now.has(name, total) for name, total in totals.items())

    until(are_told)


def until_shown(lab: Lab, agent: LifeAgent, name: str, used: int) -> None:
    """Wait until the metrics and the status have so many entries of a map: each of them hears last of a round."""
    until(lambda: scrape(lab).value("ebpflb_map_entries", V4, map=name) == used)
    until(lambda: agent.status().families[0].maps[name].used == used)


def test_every_metric_of_kube_proxy_is_there_with_its_type(lab: Lab, agent: LifeAgent) -> None:
    found = scrape(lab).families
    assert {name: found[name].type for name in KUBE_PROXY} == KUBE_PROXY
    for name in BY_FAMILY:
        assert {sample.labels.get("ip_family") for sample in found[name].samples} == {"IPv4"}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_start_time_seconds"} <= found.keys()
    assert agent.process.is_running


def test_buckets_are_kube_proxys(lab: Lab, agent: LifeAgent) -> None:
    def buckets(name: str) -> list[float]:
        samples = scrape(lab).families[name].samples
        return [float(sample.labels["le"]) for sample in samples if sample.name.endswith("_bucket")]

    assert agent.process.is_running
    sync = buckets("kubeproxy_sync_proxy_rules_duration_seconds")
    assert sync == [*(0.001 * 2**power for power in range(15)), float("inf")]
    programming = buckets("kubeproxy_network_programming_duration_seconds")
    assert programming == [0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30), float("inf")]


def test_the_metrics_tell_what_is_in_the_maps(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    before = scrape(lab)
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web", lab.pod(1, 1), lab.pod(2, 1))])
    until(lambda: agent.cluster_ips() == {WEB})
    until_told(lab, before, services=1, endpoints=1)
    until_shown(lab, agent, "backends", 2)
    after = scrape(lab)
    maps = agent.status().families[0].maps
    for name in ("frontends", "backends", "services", "slots"):
        assert after.value("ebpflb_map_entries", V4, map=name) == maps[name].used > 0
        assert after.value("ebpflb_map_capacity", V4, map=name) == maps[name].capacity
    assert after.value("ebpflb_service_ports", V4) == 1
    assert after.value("ebpflb_objects", kind="Service") == 1
    assert after.value("ebpflb_healthy") == after.value("ebpflb_source_up") == 1
    assert after.value("ebpflb_change_pending_seconds") == 0
    for name in ("service", "endpoint"):
        assert after.value(f"{CHANGES.format(name)}_total") == before.value(f"{CHANGES.format(name)}_total") + 1
        assert after.value(f"{CHANGES.format(name)}_pending") == 0
    syncs = "kubeproxy_sync_proxy_rules_duration_seconds_count"
    assert after.value(syncs, V4) > before.value(syncs, V4)
    queued = after.value("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", V4)
    assert queued > before.value("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", V4)
    assert after.value("kubeproxy_sync_proxy_rules_last_timestamp_seconds", V4) >= queued
    assert after.value("ebpflb_attached_devices", role="pod") == 2
    assert after.value("ebpflb_program_load_seconds", V4, origin="compiled") > 0


def test_traffic_and_flows_are_counted(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    service = tcp_service("web", WEB, 30080)
    write_objects(folder, web=[service, slice_of("web", lab.pod(1, 1))])
    behind = [f"{lab.pod(1, 1).address}:8080/TCP"]
    until(lambda: agent.backends_of_kind("NodePort") == agent.backends_of_kind("ClusterIP") == behind)
    before = scrape(lab)
    assert measure(lab.pod(1, 2), "tcp", f"{WEB}:80", "--count", "5").by_backend == {"node-1-pod-1": 5}
    assert measure(lab.client, "tcp", f"{lab.node(1).address}:30080", "--count", "4").by_backend == {"node-1-pod-1": 4}
    after = scrape(lab)

    def grown(name: str, **labels: str) -> float:
        return after.value(name, V4, **labels) - before.value(name, V4, **labels)

    assert grown("ebpflb_verdicts_total", verdict="sock_translated") >= 5
    assert grown("ebpflb_datapath_events_total", event="flow_created") >= 4
    assert grown("ebpflb_drops_total", reason="no_local_backend") == 0
    # What the last sweep saw: it comes every ten seconds, and such flows stay for a minute.
    until(lambda: scrape(lab).has("ebpflb_flows", 4, **V4, state="closed"))
    sweeps = "kubeproxy_conntrack_reconciler_sync_duration_seconds_count"
    until(lambda: scrape(lab).value(sweeps, V4) > before.value(sweeps, V4))


def test_services_without_local_backends_are_counted(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"

    def counts() -> tuple[float, float]:
        found = scrape(lab)
        return tuple(found.value(name, V4, traffic_policy=policy) for policy in ("internal", "external"))  # type: ignore[return-value]

    write_objects(folder, web=balanced("web", WEB, lab.pod(2, 1), internalTrafficPolicy="Local"))
    until(lambda: counts() == (1, 1))
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1), internalTrafficPolicy="Local"))
    until(lambda: counts() == (0, 0))
    assert agent.process.is_running


def test_the_way_from_a_pod_to_the_maps_is_timed(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    name = "kubeproxy_network_programming_duration_seconds"
    before = scrape(lab)
    dated = slice_of("other", lab.pod(1, 1))
    for moment in (datetime.now(UTC).isoformat(), "not a time", "2020-01-01T00:00:00Z"):
        dated["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": moment}
        dated["endpoints"].append({"addresses": [f"10.244.9.{len(dated['endpoints'])}"]})
        write_objects(folder, other=[tcp_service("other", OTHER), dated])
        until(lambda: len(agent.backends_of(OTHER)) == len(dated["endpoints"]))
    until_told(lab, before, services=1, endpoints=3)
    after = scrape(lab)
    assert after.value(f"{name}_count", V4) == before.value(f"{name}_count", V4) + 1  # what cannot be, is not timed
    assert 0 < after.value(f"{name}_sum", V4) - before.value(f"{name}_sum", V4) < SOON_S


def test_refused_objects_and_probes_are_counted(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    node = lab.node(1)
    write_objects(folder, bad=[tcp_service("bad", "10.96.0.12", 70000)], node=[a_node("node-1")])
    until(lambda: scrape(lab).value("ebpflb_refused_objects", kind="Service") == 1)
    assert scrape(lab).value("ebpflb_refused_objects", kind="EndpointSlice") == 0
    for path in ("/healthz", "/healthz", "/livez"):
        assert fetch(node, LOCAL, HEALTHZ, path).code == 200
    found = scrape(lab)
    assert found.value("kubeproxy_proxy_healthz_total", code="200") == 2
    assert found.value("kubeproxy_proxy_livez_total", code="200") == 1
    slis = Scrape(fetch(node, LOCAL, METRICS, "/metrics/slis").body)
    assert slis.value("kubernetes_healthcheck", name="proxy", type="healthz") == 1
    assert slis.value("kubernetes_healthchecks_total", name="proxy", type="healthz", status="success") == 2
    (folder / "bad.yaml").unlink()
    until(lambda: scrape(lab).value("ebpflb_refused_objects", kind="Service") == 0)
    assert agent.process.is_running


def test_the_other_pages(lab: Lab, agent: LifeAgent) -> None:
    node = lab.node(1)
    assert fetch(node, LOCAL, METRICS, "/healthz").body == "ok"
    mode = fetch(node, LOCAL, METRICS, "/proxyMode")
    assert (mode.code, mode.body) == (200, "ebpf")
    assert (mode.header("Content-Type") or "").startswith("text/plain")
    config = fetch(node, LOCAL, METRICS, "/configz")
    assert config.header("Content-Type") == "application/json"
    assert config.json()["kubeproxy.config.k8s.io"]["healthzBindAddress"] == "0.0.0.0:10256"
    assert fetch(node, LOCAL, METRICS, "/").code == 404
    assert fetch(node, LOCAL, METRICS, "/metrics", "HEAD").body == ""
    assert fetch(node, LOCAL, METRICS, "/metrics", "POST").code == 200
    assert fetch(lab.client, node.address, METRICS, "/healthz").code == 0  # loopback only, unless told otherwise
    assert agent.process.is_running
