"""Answers for the health of the proxy and of the Services on this node, from what the loop and the inbox know.

Decides since when the maps lag behind, and for how long they may; who is told when the proxy's own port cannot be had.
What the answers look like is ``host``'s business; the ports of Services are ``health_ports``'.

    Inbox: pending_since --------+
    loop: on_batch, on_round ----+--> ProxyHealth, ServicePorts --> HttpPorts <-- HTTP clients
                                 +--> HealthView --> Board

The maps lag as soon as a change arrives, most often for milliseconds: probes must not see that. Twice the sync period
is how long kube-proxy lets a change wait. Rows that the kernel refuses are a change that waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ebpflb.agent.config import AgentConfig
from ebpflb.agent.health_ports import ServicePorts
from ebpflb.core.abi import Family
from ebpflb.core.model import ObjectKey
from ebpflb.errors import PrerequisiteError
from ebpflb.host.health import ProxyHealth, proxy_handler
from ebpflb.host.http_ports import HttpPorts, Wanted, endpoints_of
from ebpflb.host.http_server import HttpServer
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import SourceView
from ebpflb.reconcile.ports import Events
from ebpflb.reconcile.rounds import Round
from ebpflb.reconcile.status import HealthPort

log = logging.getLogger(__name__)

PROXY_FAILED = "FailedToStartProxierHealthcheck"
PROXY = "proxy"
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class HealthView:
    """What ``ebpflb status`` shows of the ports where health is asked for."""

    ports: tuple[HealthPort, ...] = ()
    warnings: tuple[str, ...] = ()


class Health:
    """Implements ``reconcile.rounds.Observer``; ``run`` is one thread's work. The HTTP threads ask it.

    The proxy's own health has a server apart: what is done to the ports of Services shall not make kubelet restart us.
    ``more`` are other servers of the agent, to be kept open beside its own.
    """

    def __init__(
        self,
        config: AgentConfig,
        proxy_server: HttpServer,
        service_server: HttpServer,
        events: Events,
        source: Callable[[], SourceView],
        *,
        more: Mapping[str, Wanted] | None = None,
        on_answer: Callable[[str, int], None] = lambda _path, _code: None,
        on_view: Callable[[HealthView], None] = lambda _view: None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config = config
        self._events = events
        self._source = source
        self._on_answer = on_answer
        self._on_view = on_view
        self._now_ns = now_ns
        self._server = proxy_server
        self._more = dict(more or {})
        self._ports = HttpPorts(self._show)
        self._allowed = timedelta(seconds=2 * config.sync_period_s)
        self._updated_at_ns = now_ns()
        self._taken_since: datetime | None = None
        self._unsettled_since: Mapping[Family, datetime] = {}
        self._is_eligible = True
        self._services = ServicePorts(config, service_server, events, self._ports, self.is_healthy)
        self._lock = threading.Lock()

    # -- Observer, in the loop's thread --------------------------------------------------------------------------------

    def on_batch(self, batch: Batch) -> None:
        """Hear that changes are about to be written: a round that hangs keeps them waiting."""
        self._taken_since = self._taken_since or batch.first_change_at

    def on_round(self, done: Round) -> None:
        """Take what the maps hold now."""
        self._unsettled_since, self._taken_since = done.unsettled_since, None
        if not done.unsettled_since:
            self._updated_at_ns = self._now_ns()
        if done.batch is not None:
            self._is_eligible = done.batch.snapshot.node.is_eligible
            changed = self._services.take(done.batch.snapshot, done.batch.changes)
            if changed:
                self._show(changed)

    # -- for those who ask ---------------------------------------------------------------------------------------------

    def proxy_health(self) -> ProxyHealth:
        """Return how it stands with the proxy now."""
        now_ns = self._now_ns()
        since = min(self._waiting_since(), default=None)
        is_healthy = since is None or datetime.fromtimestamp(now_ns / _NS, UTC) - since <= self._allowed
        return ProxyHealth(is_healthy, self._updated_at_ns, now_ns, self._is_eligible)

    def is_healthy(self) -> bool:
        """Return whether no change has waited for too long."""
        return self.proxy_health().is_healthy

    def _waiting_since(self) -> Iterator[datetime]:
        """Yield since when changes wait. Before everything was listed none is in the queue: nothing may be written."""
        view = self._source()
        if view.pending_since is not None and not view.missing:
            yield view.pending_since
        taken_since = self._taken_since
        if taken_since is not None:
            yield taken_since
        yield from self._unsettled_since.values()

    # -- ports ---------------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Keep the ports open until ``stop`` is set. Raises when the proxy's own may not fail, and does."""
        endpoints = endpoints_of(self._config.healthz_bind_address, self._config.families)
        handler = proxy_handler(self.proxy_health, self._on_answer)
        healthz = Wanted(self._server, endpoints, handler, self._proxy_failed)
        self._ports.want(PROXY, {"healthz": healthz, **self._more})
        self._ports.run(stop)

    def _proxy_failed(self, reason: str) -> None:
        if self._config.bind_address_hard_fail:
            remedy = "free the port, set healthzBindAddress, or set bindAddressHardFail to false"
            raise PrerequisiteError(f"healthzBindAddress {self._config.healthz_bind_address}: {reason}", remedy=remedy)
        message = f"failed to start proxier healthz on {self._config.healthz_bind_address}: {reason}"
        self._events.emit("Node", "", self._config.node_name, reason=PROXY_FAILED, message=message, warning=True)

    def _show(self, changed: Collection[ObjectKey] = ()) -> None:
        with self._lock:  # two threads come here: the later view shall be the last one
            ports = self._services.rows(changed)
            proxy = (f"{name}: {reason}" for name, reason in self._ports.failures(PROXY).items())
            services = (f"health check of Service {each.service}: {each.error}" for each in ports if each.error)
            self._on_view(HealthView(ports, (*proxy, *services)))
