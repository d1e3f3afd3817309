"""What the pinned maps of an instance tell about a flow, whether or not its agent runs.

Decides what fits the question. Writes nothing, and knows neither words nor layout.

    pins, status file --> LiveWorld --decide_in--> Decision --> Weighing, Traces
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from socket import if_nametoindex
from typing import Final, Self

from ebpflb.cli.explain_flows import Query
from ebpflb.cli.explain_source import Traces
from ebpflb.cli.pinned import decode_maps, families, read_tables
from ebpflb.cli.words import Row, transport
from ebpflb.core.abi import BackendState, ConfigFlag, Counter, DeviceFlag, Family, NodeAddrFlag
from ebpflb.core.explain import Decision, Hook, Reason, Verdict
from ebpflb.core.explain_index import HealthServer, Index
from ebpflb.core.explain_why import NOT_ASKED, Weighed, Weighing
from ebpflb.core.model import format_address, format_endpoint
from ebpflb.core.tables import Backend, Tables
from ebpflb.datapath.pins import Pins
from ebpflb.errors import UsageError
from ebpflb.reconcile.status import HealthPort, StatusFile

_TRACES: Final = ("flows", "pending", "affinity", "sock_origins")


@dataclass(frozen=True, slots=True)
class LiveWorld:
    """The maps of an instance. Implements ``explain_source.World``."""

    origin: str
    indexes: Mapping[Family, Index]
    pins: Pins
    remarks: tuple[str, ...] = ()
    caveat: str = "maps hold no endpoint that is not used: --manifests tells why not"

    @classmethod
    def read(cls, pins: Pins, status: StatusFile) -> Self:
        """Read the maps, and of the agent's status what no map holds. Raises ``EbpflbError`` when there are no maps."""
        ports, remarks = _health_ports(status)
        tables = {each: read_tables(pins, each) for each in families(pins)}
        indexes = {family: Index(each, _health_servers(each, ports)) for family, each in tables.items()}
        return cls(f"the maps of instance {pins.instance}", indexes, pins, remarks)

    def is_pod_device(self, family: Family, name: str) -> bool:
        """Ask the row of the device that has this name in the current network namespace."""
        try:
            ifindex = if_nametoindex(name)
        except OSError:
            problem = f"there is no device {name!r} in this network namespace"
            raise UsageError(problem, remedy="name one that `ip link` shows, or none") from None
        index = self.indexes.get(family)
        row = index.tables.devices.get(ifindex) if index else None
        if index is None or row is None:
            return False
        is_asked = ConfigFlag.DETECT_BY_DEVICE in index.config.flags
        return (DeviceFlag.POD_SOURCE if is_asked else DeviceFlag.PODS) in row.flags

    def weigh(self, decision: Decision, query: Query) -> Weighing:
        """Name the backends with rows: the chosen ones, and others of UDP and affinity. No row tells of the rest."""
        if decision.frontend is None:
            return Weighing()
        tables = self.indexes[query.family].tables
        named = (key.backend_id for key in tables.members if key.service_id == decision.frontend.service_id)
        rows = (tables.backends.get(number) for number in sorted(named))
        others = {row for row in rows if row is not None and row not in decision.backends}
        chosen = [Weighed(_text(row), "", is_chosen=True, reason="") for row in decision.backends]
        left_out = [Weighed(_text(row), "", is_chosen=False, reason=_why_not(row, decision)) for row in others]
        return Weighing("", (*sorted(chosen), *sorted(left_out)))

    def traces(self, decision: Decision, query: Query) -> Traces:
        """Read the tables that the programs write."""
        tables = self.indexes[query.family].tables
        counter = counter_of(decision)
        raised = "" if counter is None else counter.name.lower()
        counters = {
            row["counter"]: row["value"]
            for row in decode_maps(self.pins, tables, ["counters"], None)["counters"]
            if row["counter"] == raised
        }
        if decision.frontend is None:
            return Traces(counters=counters)
        read = decode_maps(self.pins, tables, _TRACES, decision.service)
        return Traces(
            flows=[row for name in ("flows", "pending") for row in read[name] if _is_of(query, row)],
            affinity=[
                row
                for row in read["affinity"]
                if row["service_id"] == decision.frontend.service_id
                and row["client_address"] == format_address(query.source)
            ],
            sockets=[
                row
                for row in read["sock_origins"]
                if row["frontend"] == transport(query.destination, query.port, query.protocol)
            ],
            counters=counters,
        )


def counter_of(decision: Decision) -> Counter | None:
    """Return the counter that such flows raise; a health check is nothing to the programs."""
    if decision.hook is Hook.SOCKET:
        return _SOCKET_COUNTERS.get(decision.verdict)
    return _COUNTERS.get(decision.reason)


_SOCKET_COUNTERS = {
    Verdict.FORWARD: Counter.SOCK_TRANSLATED,
    Verdict.REJECT: Counter.SOCK_REJECTED,
    Verdict.PASS: Counter.SOCK_PASSED,
}
_COUNTERS = {
    Reason.CLUSTER_SET: Counter.FLOW_CREATED,
    Reason.LOCAL_SET: Counter.FLOW_CREATED,
    Reason.SHORT_CUT_POD: Counter.FLOW_CREATED,
    Reason.SHORT_CUT_NODE: Counter.FLOW_CREATED,
    Reason.SOURCE_RANGE: Counter.DROP_SOURCE_RANGE,
    Reason.NO_ENDPOINTS: Counter.REJECTED,
    Reason.NO_LOCAL_ENDPOINTS: Counter.DROP_NO_LOCAL_BACKEND,
    Reason.WRONG_PORT: Counter.REJECTED_PORT,
    Reason.UNUSED_ADDRESS: Counter.DROP_UNUSED_ADDRESS,
    Reason.NOT_CLAIMED: Counter.PASSED,
}


def _health_ports(status: StatusFile) -> tuple[tuple[HealthPort, ...], tuple[str, ...]]:
    """Return the ports where load balancers ask; and remarks: that they are not known, or which cannot be had."""
    try:
        ports = status.read().node.health_ports
    except UsageError as error:
        return (), (f"health checks are not known: {error}",)
    return ports, tuple(f"health check of Service {each.service}: {each.error}" for each in ports if each.error)


def _health_servers(tables: Tables, ports: Iterable[HealthPort]) -> dict[int, HealthServer]:
    """Return the servers of a family. No row tells of those that listen everywhere what they have beyond NodePorts."""
    addresses = frozenset(each for each, flags in tables.node_addrs.items() if NodeAddrFlag.NODE_PORTS in flags)
    family = f"IPv{tables.family.value}"
    return {each.port: HealthServer(each.service, addresses) for each in ports if family in each.local_backends}


def _text(backend: Backend) -> str:
    return format_endpoint(backend.key.address, backend.key.port)


def _why_not(backend: Backend, decision: Decision) -> str:
    if decision.reason.is_before_endpoints:
        return NOT_ASKED
    if backend.state is BackendState.DRAINING:
        return "takes no new flows, and finishes those it has"
    return "takes flows of another policy, or of another Service"


def _is_of(query: Query, flow: Row) -> bool:
    """Say whether a flow is one of those that were asked about, from whatever port."""
    client = format_endpoint(query.source, 0).removesuffix("0")
    asked = ("request", query.protocol.name, format_endpoint(query.destination, query.port))
    return (flow["direction"], flow["protocol"], flow["destination"]) == asked and str(flow["source"]).startswith(
        client
    )
