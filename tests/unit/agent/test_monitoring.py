"""Health and metrics at work together: one thread, two servers, and an end that leaves nothing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Self

import numpy as np
import pytest

from ebpflb.agent import metrics
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.events import LogEvents
from ebpflb.agent.health import Health, HealthView
from ebpflb.agent.metrics import Meter
from ebpflb.agent.monitoring import Monitoring
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build
from ebpflb.errors import PrerequisiteError
from ebpflb.host.http_server import open_socket
from ebpflb.reconcile.inbox import SourceView
from tests.ports import LOOPBACK, free_ports, until

V4 = Family.IPV4
SECONDS = 60.0


class NoMap:
    """A map without entries."""

    info = SimpleNamespace(max_entries=1)

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self) -> object:
        return np.empty(0, np.uint32), np.empty((0, 2), np.uint64)


def fetch(port: int, path: str) -> str:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=SECONDS) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            with connection.makefile("r") as file:
                return file.read()
    except ConnectionError:
        return ""


@pytest.fixture(name="config")
def _config(monkeypatch: pytest.MonkeyPatch) -> AgentConfig:
    monkeypatch.setattr(metrics, "open_map", NoMap)
    healthz, scrapes = free_ports()
    return AgentConfig(
        "n1",
        families=(V4,),
        healthz_bind_address=f"{LOOPBACK}:{healthz}",
        metrics_bind_address=f"{LOOPBACK}:{scrapes}",
        config_text='{"mode": "x"}',
    )


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@contextmanager
def monitoring(config: AgentConfig, views: list[HealthView]) -> Iterator[Monitoring]:
    builds = {V4: Build("key", {}, compiled=True, seconds=1.5, instructions={})}
    source = SourceView((), "", {}, (), None)
    with Monitoring(config, builds, LogEvents(), lambda: source, views.append) as each:
        yield each


def test_both_servers_answer_and_probes_are_counted(config: AgentConfig) -> None:
    healthz, scrapes = port_of(config.healthz_bind_address), port_of(config.metrics_bind_address)
    stop = threading.Event()
    with monitoring(config, []) as each:
        assert [type(observer) for observer in each.observers] == [Health, Meter]
        thread = threading.Thread(target=each.run, args=(stop,))
        thread.start()
        try:
            until(lambda: "200 OK" in fetch(healthz, "/healthz") and bool(fetch(scrapes, "/healthz")))
            until(lambda: 'kubeproxy_proxy_healthz_total{code="200"}' in fetch(scrapes, "/metrics"))
            assert 'ebpflb_program_load_seconds{ip_family="IPv4",origin="compiled"} 1.5' in fetch(scrapes, "/metrics")
            assert fetch(scrapes, "/proxyMode").endswith("\n\nebpf")
            assert fetch(scrapes, "/configz").endswith('{"kubeproxy.config.k8s.io": {"mode": "x"}}')
        finally:
            stop.set()
            thread.join()
    assert (fetch(healthz, "/healthz"), fetch(scrapes, "/metrics")) == ("", "")


def test_probes_of_the_proxy_of_services_and_scrapes_share_no_server(config: AgentConfig) -> None:
    with monitoring(config, []) as each:
        health = each._health
        servers = {health._server, health._services._server, health._more["metrics"].server}
        assert len(servers) == 3


def test_a_taken_metrics_port_is_a_warning(config: AgentConfig) -> None:
    views: list[HealthView] = []
    stop = threading.Event()
    with open_socket(LOOPBACK, port_of(config.metrics_bind_address)), monitoring(config, views) as each:
        thread = threading.Thread(target=each.run, args=(stop,))
        thread.start()
        try:
            until(lambda: any(view.warnings for view in views))
        finally:
            stop.set()
            thread.join()
    told = next(view for view in views if view.warnings)
    assert told.warnings[0].startswith(f"metrics: cannot listen at {config.metrics_bind_address}: ")


def test_a_taken_metrics_port_that_may_not_be_ends_the_agent(config: AgentConfig) -> None:
    config = replace(config, bind_address_hard_fail=True)
    with (
        open_socket(LOOPBACK, port_of(config.metrics_bind_address)),
        monitoring(config, []) as each,
        pytest.raises(PrerequisiteError, match=r"metricsBindAddress 127\.0\.0\.1:\d+: cannot listen"),
    ):
        each.run(threading.Event())
