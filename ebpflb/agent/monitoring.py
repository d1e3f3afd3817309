"""Puts health and metrics to work beside the loop: what they hear, what they serve, which threads they take.

Decides which server has which port. Must not know what is answered there.

    run_agent --Monitoring--> observers, listeners of the loop and the sweep; parts to be run; HTTP servers
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from ebpflb.agent.config import AgentConfig
from ebpflb.agent.health import Health, HealthView
from ebpflb.agent.metrics import Meter
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build
from ebpflb.errors import PrerequisiteError
from ebpflb.host.http_ports import Wanted, endpoints_of
from ebpflb.host.http_server import HttpServer
from ebpflb.host.metrics_pages import metrics_pages
from ebpflb.reconcile.inbox import SourceView
from ebpflb.reconcile.ports import Events
from ebpflb.reconcile.rounds import Observer

SERVERS = ("health", "services", "metrics")


class Monitoring:
    """A context manager. The proxy's health, that of Services and the metrics have a server each: a scrape that takes
    long must not delay a probe, and who floods the port of a Service must not make kubelet restart the agent.
    """

    def __init__(
        self,
        config: AgentConfig,
        builds: Mapping[Family, Build],
        events: Events,
        source: Callable[[], SourceView],
        on_view: Callable[[HealthView], None],
    ) -> None:
        self._config = config
        with ExitStack() as stack:
            self.meter = stack.enter_context(Meter(config, builds, source))
            probes, checks, scrapes = (stack.enter_context(HttpServer(name)) for name in SERVERS)
            endpoints = endpoints_of(config.metrics_bind_address, config.families)
            pages = metrics_pages(self.meter.metrics, config.proxy_mode, config.config_text)
            more = {"metrics": Wanted(scrapes, endpoints, pages, self._failed)}
            on_answer = self.meter.metrics.on_answer
            self._health = Health(
                *(config, probes, checks, events, source), more=more, on_answer=on_answer, on_view=on_view
            )
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the servers, and close the maps."""
        self._resources.close()

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is to hear of the loop's rounds."""
        return (self._health, self.meter)

    def run(self, stop: threading.Event) -> None:
        """Keep the ports open until ``stop`` is set. Raises when one cannot be had that must be."""
        self._health.run(stop)

    def _failed(self, reason: str) -> None:
        if self._config.bind_address_hard_fail:
            remedy = "free the port, set metricsBindAddress, or set bindAddressHardFail to false"
            raise PrerequisiteError(f"metricsBindAddress {self._config.metrics_bind_address}: {reason}", remedy=remedy)
