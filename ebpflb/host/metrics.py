"""The agent's metrics: what is counted and timed as it happens, and the registry that shows it with the rest.

Names, types, labels and buckets are kube-proxy's where it has them. Decides them; must not know when what happens.

    on_sync, on_changes, on_swept, ... --> instruments --+
    ScrapeCollector: read when asked ---------------------+--> registry --exposition--> text
"""

from collections.abc import Callable, Collection
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from ebpflb.core.abi import Family
from ebpflb.host.metrics_facts import Facts
from ebpflb.host.metrics_samples import ip_family
from ebpflb.host.metrics_scrape import ScrapeCollector

SYNC_BUCKETS: Final = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS: Final = (0.25, 0.5, *range(1, 60), *range(60, 116, 5), *range(120, 301, 30))
HEALTHY, UNHEALTHY = "success", "error"

_FAMILY: Final = ("ip_family",)


class Metrics:
    """Everything of one agent. Thread-safe."""

    def __init__(self, families: Collection[Family], read: Callable[[], Facts]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # kube-proxy's counters have no such companions
        self._registry = CollectorRegistry()
        self._slis = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(ScrapeCollector(read))
        self._make_histograms()
        self._make_gauges()
        self._make_counters()
        for family in families:
            for each in self._by_family:
                each.labels(ip_family(family))

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def slis(self) -> bytes:
        """Return the metrics of health checks, as components of Kubernetes have them apart."""
        return generate_latest(self._slis)

    # -- what happens --------------------------------------------------------------------------------------------------

    def on_sync(self, family: Family, seconds: float, *, is_full: bool, succeeded: bool, at_s: float) -> None:
        """Hear of one round of one family."""
        label = ip_family(family)
        self._syncs.labels(label).observe(seconds)
        (self._full_syncs if is_full else self._partial_syncs).labels(label).observe(seconds)
        if succeeded:
            self._last_sync.labels(label).set(at_s)
        else:
            self._failures.labels(label).inc()

    def on_changes(self, services: int, endpoints: int) -> None:
        """Hear how many objects changed."""
        self._service_changes.inc(services)
        self._endpoint_changes.inc(endpoints)

    def on_pending(self, services: int, endpoints: int) -> None:
        """Hear how many of them are not in the maps."""
        self._services_pending.set(services)
        self._endpoints_pending.set(endpoints)

    def on_programmed(self, family: Family, seconds: float) -> None:
        """Hear how long it took from a change in the cluster to its rows."""
        self._programming.labels(ip_family(family)).observe(seconds)

    def on_swept(self, family: Family, seconds: float, *, removed: int, sockets_closed: int) -> None:
        """Hear of one sweep of one family."""
        label = ip_family(family)
        self._sweeps.labels(label).observe(seconds)
        self._deleted.labels(label).inc(removed)
        self._sockets.labels(label).inc(sockets_closed)

    def on_answer(self, path: str, code: int) -> None:
        """Hear what a probe of ``healthz`` or ``livez`` was answered."""
        is_good = code < 400  # noqa: PLR2004 - where HTTP's errors begin
        (self._healthz if path == "healthz" else self._livez).labels(str(code)).inc()
        self._check.labels("proxy", path).set(is_good)
        self._checks.labels("proxy", path, HEALTHY if is_good else UNHEALTHY).inc()

    # -- instruments ---------------------------------------------------------------------------------------------------

    def _make_histograms(self) -> None:
        def histogram(name: str, words: str, buckets: tuple[float, ...] = SYNC_BUCKETS) -> Histogram:
            return Histogram(f"kubeproxy_{name}", words, _FAMILY, buckets=buckets, registry=self._registry)

        self._syncs = histogram("sync_proxy_rules_duration_seconds", "Rounds, from a batch to its rows.")
        self._full_syncs = histogram("sync_full_proxy_rules_duration_seconds", "Rounds that read the maps as a whole.")
        self._partial_syncs = histogram("sync_partial_proxy_rules_duration_seconds", "Rounds that wrote changes only.")
        self._programming = histogram(
            "network_programming_duration_seconds",
            "From a change of Pods, as its EndpointSlice dates it, to its rows in the maps.",
            PROGRAMMING_BUCKETS,
        )
        self._sweeps = histogram("conntrack_reconciler_sync_duration_seconds", "Sweeps of flows and stale sockets.")

    def _make_gauges(self) -> None:
        def gauge(name: str, words: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"kubeproxy_sync_proxy_rules_{name}", words, labels, registry=self._registry)

        self._last_sync = gauge("last_timestamp_seconds", "When a round last succeeded.", _FAMILY)
        self._services_pending = gauge("service_changes_pending", "Changed Services that are not in the maps.")
        self._endpoints_pending = gauge("endpoint_changes_pending", "Changed EndpointSlices that are not in the maps.")
        self._check = Gauge(
            "kubernetes_healthcheck", "1: the last probe was answered well.", ("name", "type"), registry=self._slis
        )

    def _make_counters(self) -> None:
        def counter(name: str, words: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, words, labels, registry=self._registry)

        self._service_changes = counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changed Services.")
        self._endpoint_changes = counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changed EndpointSlices.")
        self._healthz = counter("kubeproxy_proxy_healthz_total", "Probes of /healthz, by answer.", ("code",))
        self._livez = counter("kubeproxy_proxy_livez_total", "Probes of /livez, by answer.", ("code",))
        self._deleted = counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total", "Flows that sweeps removed.", _FAMILY
        )
        self._failures = counter(
            "ebpflb_sync_failures_total", "Rounds that did not write everything; each is repeated.", _FAMILY
        )
        self._sockets = counter("ebpflb_sockets_closed_total", "Sockets closed as their backend was gone.", _FAMILY)
        self._checks = Counter(
            "kubernetes_healthchecks_total", "Probes.", ("name", "type", "status"), registry=self._slis
        )

    @property
    def _by_family(self) -> tuple[Histogram | Gauge | Counter, ...]:
        """The instruments that show zero for a family in which nothing has happened."""
        histograms = (self._syncs, self._full_syncs, self._partial_syncs, self._programming, self._sweeps)
        return (*histograms, self._last_sync, self._deleted, self._failures, self._sockets)
