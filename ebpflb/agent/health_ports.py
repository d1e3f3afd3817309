"""The ports of ``spec.healthCheckNodePort`` on this node, and what ``ebpflb status`` shows of them.

Decides whose port opens where, and which rows of the status are new: there may be thousands of ports, of which a batch
changes few. Must not know what counts as healthy, nor which Services want a port and what they count.

    Snapshot --take--> HttpPorts.want; changed Services --rows--> HealthPort ...
                       HttpPorts.failures -----------------^
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

from ebpflb.agent.config import AgentConfig
from ebpflb.core.abi import Family
from ebpflb.core.changes import Changes
from ebpflb.core.health import HealthCheck, HealthChecks, health_addresses
from ebpflb.core.model import ObjectKey, Snapshot, format_address
from ebpflb.host.health import service_handler
from ebpflb.host.http_ports import Endpoint, HttpPorts, Wanted
from ebpflb.host.http_server import HttpServer
from ebpflb.reconcile.ports import Events
from ebpflb.reconcile.status import HealthPort

SERVICE_FAILED = "FailedToStartServiceHealthcheck"
SERVICES = "services"


class ServicePorts:
    """``take`` is the loop's; ``rows`` is for one thread at a time, whichever it is."""

    def __init__(
        self, config: AgentConfig, server: HttpServer, events: Events, ports: HttpPorts, is_healthy: Callable[[], bool]
    ) -> None:
        self._config = config
        self._server = server
        self._events = events
        self._ports = ports
        self._is_healthy = is_healthy
        self._checks = HealthChecks(config.node_name)
        self._addresses: Mapping[Family, tuple[bytes, ...]] = {}
        self._wanted: dict[ObjectKey, Wanted] = {}
        self._rows: dict[ObjectKey, HealthPort] = {}
        self._failed: frozenset[ObjectKey] = frozenset()

    def take(self, snapshot: Snapshot, changes: Changes) -> set[ObjectKey]:
        """Ask for the ports of the next snapshot; return the Services with another port, or another count."""
        before = self._checks.current
        changed = self._checks.take(changes)
        current = self._checks.current
        addresses = {
            family: health_addresses(snapshot, family, self._config.options) for family in self._config.families
        }
        if addresses == self._addresses:
            moved = {key for key in changed if _place(before.get(key)) != _place(current.get(key))}
        else:
            moved, self._addresses = {*changed, *current}, addresses
        if moved:
            kept = {key: wanted for key, wanted in self._wanted.items() if key not in moved}
            self._wanted = kept | {key: self._want(current[key]) for key in moved if key in current}
            self._ports.want(SERVICES, {_text(key): wanted for key, wanted in self._wanted.items()})
        return changed

    def rows(self, changed: Collection[ObjectKey] = ()) -> tuple[HealthPort, ...]:
        """Return what the status shows; rows are made anew for changed Services, and where a failure came or went."""
        failures = {_key(name): reason for name, reason in self._ports.failures(SERVICES).items()}
        touched, self._failed = self._failed.union(changed, failures), frozenset(failures)
        checks = self._checks.current
        rows = dict(self._rows)
        for key in touched:
            check = checks.get(key)
            if check is None:
                rows.pop(key, None)
            else:
                rows[key] = HealthPort(_text(key), check.port, _counts(check), failures.get(key, ""))
        is_in_order = rows.keys() <= self._rows.keys()
        self._rows = rows if is_in_order else dict(sorted(rows.items()))
        return tuple(self._rows.values())

    def _want(self, check: HealthCheck) -> Wanted:
        """Return a Service's server: at addresses of its families; the unspecified one is no family's alone."""
        handler = service_handler(check.service, lambda: self._checks.current, self._is_healthy)
        on_failure = partial(self._tell, check.service, check.port)
        return Wanted(self._server, tuple(self._endpoints(check)), handler, on_failure)

    def _endpoints(self, check: HealthCheck) -> Iterator[Endpoint]:
        for family, listed in self._addresses.items():
            for address in listed:
                if family in check.local_backends or not any(address):
                    yield Endpoint(format_address(address), check.port)

    def _tell(self, service: ObjectKey, port: int, reason: str) -> None:
        what = f"node {self._config.node_name} failed to start healthcheck {_text(service)!r}"
        message = f"{what} on port {port}: {reason}"
        self._events.emit("Service", *service, reason=SERVICE_FAILED, message=message, warning=True)


def _place(check: HealthCheck | None) -> tuple[int, frozenset[Family]] | None:
    """Return what a Service's endpoints follow from; how many backends there are is not of it."""
    return None if check is None else (check.port, frozenset(check.local_backends))


def _counts(check: HealthCheck) -> dict[str, int]:
    return {f"IPv{family.value}": count for family, count in check.local_backends.items()}


def _text(key: ObjectKey) -> str:
    return "/".join(key)


def _key(text: str) -> ObjectKey:
    namespace, _, name = text.partition("/")
    return namespace, name
