"""The metrics that are read when they are asked for: a table of names, types and labels.

Knows the facts of one scrape as a value; must not know maps, nor how facts are found.

    Facts (read once per scrape) --TABLE--> prometheus_client's families
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ebpflb.host import metrics_samples as of
from ebpflb.host.metrics_facts import Facts


class Row(NamedTuple):
    """One metric. A counter's name ends with ``_total``, and a gauge's may, where kube-proxy has it so."""

    name: str
    is_counter: bool
    help: str
    labels: tuple[str, ...]
    read: of.Read


def _gauge(name: str, words: str, labels: str, read: of.Read) -> Row:
    return Row(name, False, words, tuple(labels.split()), read)


def _counter(name: str, words: str, labels: str, read: of.Read) -> Row:
    return Row(name, True, words, tuple(labels.split()), read)


TABLE: Final = (
    _gauge(
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a change last came.", "ip_family", of.queued
    ),
    _gauge(
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
        "Service ports with a Local traffic policy that have backends, but none on this node.",
        "ip_family traffic_policy",
        of.in_maps(of.without_local),
    ),
    _gauge("ebpflb_build_info", "1, with the version of the agent.", "version", of.version),
    _gauge(
        "ebpflb_program_load_seconds",
        "How long it took to compile and load the programs, or to take over those of a predecessor.",
        "ip_family origin",
        of.in_maps(of.load),
    ),
    _gauge("ebpflb_healthy", "1: `ebpflb status` says healthy.", "", of.one(lambda status: status.healthy)),
    _gauge(
        "ebpflb_source_up",
        "1: all objects are listed, and the source is up to date.",
        "",
        of.one(lambda status: not status.source_error and not status.waiting_for),
    ),
    _gauge("ebpflb_objects", "Objects that the source has delivered.", "kind", of.in_status(of.objects)),
    _gauge(
        "ebpflb_refused_objects",
        "Objects that are not served as written; `ebpflb status` says why.",
        "kind",
        of.in_status(of.refused),
    ),
    _gauge("ebpflb_service_ports", "Ports of Services that are programmed.", "ip_family", of.in_each(of.service_ports)),
    _gauge("ebpflb_map_entries", "Entries of a BPF map.", "ip_family map", of.maps(lambda usage: usage.used)),
    _gauge(
        "ebpflb_map_capacity", "Entries that fit a BPF map.", "ip_family map", of.maps(lambda usage: usage.capacity)
    ),
    _gauge(
        "ebpflb_failed_rows",
        "Rows that the kernel did not take, and that are tried again.",
        "ip_family map",
        of.in_each(of.failed_rows),
    ),
    _counter(
        "ebpflb_map_rows_repaired_total",
        "Rows that others had changed, and that were written again.",
        "ip_family",
        of.in_each(lambda each: [((), each.repairs)]),
    ),
    _counter(
        "ebpflb_hooks_repaired_total",
        "Devices from which others had taken programs, and that got them again.",
        "",
        of.one(lambda status: status.node.repairs),
    ),
    _gauge("ebpflb_attached_devices", "Devices that have their programs.", "role", of.in_status(of.devices)),
    _gauge(
        "ebpflb_failed_devices",
        "Devices that do not take their programs: what they carry is not served.",
        "role",
        of.in_status(of.failed_devices),
    ),
    _gauge("ebpflb_xdp_devices", "Uplinks by how XDP serves them.", "mode", of.in_status(of.xdp)),
    _gauge(
        "ebpflb_socket_programs",
        "Programs at the cgroup's socket hooks.",
        "",
        of.one(lambda status: len(status.node.socket_programs)),
    ),
    _gauge(
        "ebpflb_health_check_ports",
        "Ports of spec.healthCheckNodePort, by whether they could be had.",
        "state",
        of.in_status(of.health_ports),
    ),
    _gauge("ebpflb_change_pending_seconds", "Age of the oldest change that is not in the maps.", "", of.pending),
    _gauge("ebpflb_flows", "Flows, as the last sweep left them.", "ip_family state", of.in_maps(of.flows)),
    _counter(
        "ebpflb_verdicts_total",
        "What became of packets, and of calls at the socket hooks.",
        "ip_family verdict",
        of.counted(lambda counter: counter in of.VERDICTS),
    ),
    _counter("ebpflb_drops_total", "Packets dropped.", "ip_family reason", of.counted(of.is_drop)),
    _counter(
        "ebpflb_datapath_events_total",
        "What the programs did on the way to a verdict.",
        "ip_family event",
        of.counted(lambda counter: counter not in of.VERDICTS and not of.is_drop(counter)),
    ),
    _gauge(
        "ebpflb_unreadable_maps", "Maps that this scrape could not read.", "ip_family map", of.in_maps(of.unreadable)
    ),
)


def families_of(facts: Facts) -> Iterator[Metric]:
    """Yield every metric of the table with what the facts say of it."""
    for row in TABLE:
        kind = CounterMetricFamily if row.is_counter else GaugeMetricFamily
        found = kind(row.name, row.help, labels=row.labels)
        for labels, value in row.read(facts):
            found.add_metric(labels, value)
        yield found


class ScrapeCollector:
    """Reads the facts once per scrape."""

    def __init__(self, read: Callable[[], Facts]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without values: to be registered, nothing is read."""
        return families_of(Facts())

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        return families_of(self._read())
