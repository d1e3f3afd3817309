"""When the proxy counts as healthy, which ports are wanted, and who is told of those that cannot be had."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import NamedTuple
from unittest.mock import Mock

import pytest

from ebpflb.agent.config import AgentConfig
from ebpflb.agent.health import Health, HealthView
from ebpflb.core.abi import Family
from ebpflb.core.model import Host, Node, ServiceType, Snapshot, parse_address
from ebpflb.core.options import Options
from ebpflb.core.tables import Tables
from ebpflb.errors import PrerequisiteError
from ebpflb.host.http_messages import Request
from ebpflb.host.http_ports import Endpoint, HttpPorts, Wanted
from ebpflb.host.http_server import HttpServer, open_socket
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import SourceView
from ebpflb.reconcile.rounds import Round, Sync
from ebpflb.reconcile.status import HealthPort
from tests.story import Story
from tests.unit.core.factories import HERE, endpoint, endpoint_slice, service, snapshot

START = datetime(2026, 1, 2, tzinfo=UTC)
CONFIG = AgentConfig(HERE, sync_period_s=30.0, healthz_bind_address="")
CALM = SourceView((), "", {}, (), None)
NODE = Node(HERE, addresses=(parse_address("192.0.2.1"), parse_address("2001:db8::1")))
HOST = Host(addresses=frozenset(NODE.addresses))
SECONDS = 60.0
V4, V6 = Family.IPV4, Family.IPV6


class Event(NamedTuple):
    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    warning: bool


@dataclass
class World:
    """A health with all that it hears and says; time stands still."""

    config: AgentConfig = CONFIG
    view: SourceView = CALM
    now: datetime = START
    events: "Queue[Event]" = field(default_factory=Queue)
    shown: list[HealthView] = field(default_factory=list)
    answered: list[tuple[str, int]] = field(default_factory=list)
    server: HttpServer = field(default_factory=lambda: HttpServer("test"))
    story: Story = field(default_factory=Story)
    health: Health = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(
            self.config,
            self.server,
            self.server,
            self,
            lambda: self.view,
            on_answer=lambda path, code: self.answered.append((path, code)),
            on_view=self.shown.append,
            now_ns=lambda: int(self.now.timestamp()) * 1_000_000_000,
        )

    def emit(self, kind: str, namespace: str, name: str, *, reason: str, message: str, warning: bool) -> None:
        self.events.put(Event(kind, namespace, name, reason, message, warning))

    def after(self, seconds: float) -> bool:
        self.now = START + timedelta(seconds=seconds)
        return self.health.is_healthy()

    def batch(self, given: Snapshot | None = None) -> Batch:
        batch = self.story.batch(given or snapshot(node=NODE, host=HOST), self.now)
        self.health.on_batch(batch)
        return batch

    def settle(self, batch: Batch | None, **unsettled: datetime) -> None:
        since = {Family[name]: moment for name, moment in unsettled.items()}
        sync = Sync(V4, 0.01, is_full=False, succeeded=not unsettled, tables=Tables(V4))
        self.health.on_round(Round(batch, (sync,), self.now, since))

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        with self.server:
            thread = threading.Thread(target=self.health.run, args=(stop,))
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def wanted(self) -> dict[str, Wanted]:
        return {name: wanted for (_, name), wanted in self.health._ports._wanted.items()}


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    world = World()
    yield world
    world.server._loop.close()


class TestHealthy:
    def test_before_the_first_change_it_is(self, world: World) -> None:
        assert world.after(3600)

    def test_a_change_in_the_inbox_may_wait_for_twice_the_sync_period(self, world: World) -> None:
        world.view = replace(CALM, pending_since=START)
        assert world.after(60)
        assert not world.after(61)

    def test_what_may_not_be_written_yet_is_in_no_queue(self, world: World) -> None:
        world.view = replace(CALM, pending_since=START, missing=("EndpointSlice",))
        assert world.after(3600)

    def test_a_round_that_hangs_keeps_its_batch_waiting(self, world: World) -> None:
        batch = world.batch()
        assert world.after(60)
        assert not world.after(61)
        world.settle(batch)
        assert world.after(61)

    def test_a_change_that_the_kernel_refuses_waits_until_it_is_in_the_maps(self, world: World) -> None:
        world.settle(world.batch(), IPV6=START)
        assert world.after(60)
        assert not world.after(61)
        world.settle(world.batch(), IPV6=START)
        assert not world.after(61)
        world.settle(None)
        assert world.after(3600)

    def test_the_sync_period_is_the_configured_one(self) -> None:
        world = World(replace(CONFIG, sync_period_s=1.0), replace(CALM, pending_since=START))
        assert (world.after(2), world.after(3)) == (True, False)
        world.server._loop.close()

    def test_the_last_update_is_the_last_time_that_nothing_waited(self, world: World) -> None:
        world.settle(world.batch())
        world.now += timedelta(seconds=10)
        world.settle(world.batch(), IPV4=world.now)
        world.now += timedelta(seconds=100)
        found = world.health.proxy_health()
        assert found.updated_at_ns == int(START.timestamp()) * 1_000_000_000
        assert not found.is_healthy

    def test_the_nodes_eligibility_follows_the_node(self, world: World) -> None:
        assert world.health.proxy_health().is_eligible
        world.settle(world.batch(snapshot(node=replace(NODE, is_eligible=False))))
        assert not world.health.proxy_health().is_eligible
        assert world.health.is_healthy()
        world.settle(None)
        assert not world.health.proxy_health().is_eligible


def checked(*ips: str, port: int = 32000) -> Snapshot:
    web = service(type=ServiceType.LOAD_BALANCER, external_local=True, health_check_node_port=port)
    if ips:
        web = replace(web, cluster_ips=tuple(map(parse_address, ips)))
    return snapshot(web, endpoint_slice(endpoint("10.0.0.1", HERE)), node=NODE, host=HOST)


class TestPorts:
    def test_they_listen_at_the_primary_address_of_the_services_families(self, world: World) -> None:
        world.settle(world.batch(checked()))
        assert world.wanted()["shop/web"].endpoints == (Endpoint("192.0.2.1", 32000),)
        world.settle(world.batch(checked("10.96.0.1", "fd00::1")))
        both = (Endpoint("192.0.2.1", 32000), Endpoint("2001:db8::1", 32000))
        assert world.wanted()["shop/web"].endpoints == both
        world.settle(world.batch())
        assert world.wanted() == {}

    def test_everywhere_is_every_family(self) -> None:
        world = World(replace(CONFIG, options=Options(node_port_addresses=("0.0.0.0/0",))))
        world.settle(world.batch(checked()))
        assert world.wanted()["shop/web"].endpoints == (Endpoint("0.0.0.0", 32000), Endpoint("::", 32000))
        world.server._loop.close()

    def test_families_that_are_not_served_are_left_out(self) -> None:
        options = Options(node_port_addresses=("0.0.0.0/0",))
        world = World(replace(CONFIG, options=options, families=(V4,)))
        world.settle(world.batch(checked()))
        assert world.wanted()["shop/web"].endpoints == (Endpoint("0.0.0.0", 32000),)
        world.server._loop.close()

    def test_the_answer_follows_the_endpoints_and_the_proxy(self, world: World) -> None:
        world.settle(world.batch(checked()))
        handler = world.wanted()["shop/web"].handler
        assert handler(Request("/", "192.0.2.1")).status == 200
        world.view = replace(CALM, pending_since=START)
        world.now += timedelta(hours=1)
        assert handler(Request("/", "192.0.2.1")).status == 503
        world.view = CALM
        empty = checked()
        world.settle(world.batch(replace(empty, slices={})))
        assert handler(Request("/", "192.0.2.1")).status == 503

    def test_what_does_not_touch_a_port_costs_it_nothing(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        first = checked()
        world.settle(world.batch(first))
        before, shown = world.wanted()["shop/web"], len(world.shown)
        asked = Mock(wraps=world.health._ports.want)
        monkeypatch.setattr(world.health._ports, "want", asked)
        other = service("other", ip="10.96.0.99")
        world.settle(world.batch(replace(first, services={**first.services, other.key: other})))
        assert (asked.call_count, len(world.shown)) == (0, shown)
        two = endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE))
        world.settle(world.batch(replace(first, slices={two.key: two})))
        assert (asked.call_count, len(world.shown)) == (0, shown + 1)
        assert world.wanted()["shop/web"] is before
        assert before.handler(Request("/", "192.0.2.1")).headers[-1][1] == "2"
        world.settle(world.batch(checked(port=32001)))
        assert [call.args[0] for call in asked.call_args_list] == ["services"]

    def test_a_node_that_gets_another_address_moves_its_ports(self, world: World) -> None:
        world.settle(world.batch(checked()))
        address = parse_address("192.0.2.7")
        node, host = replace(NODE, addresses=(address,)), Host(addresses=frozenset({address}))
        world.settle(world.batch(replace(checked(), node=node, host=host)))
        assert world.wanted()["shop/web"].endpoints == (Endpoint("192.0.2.7", 32000),)

    def test_ports_are_shown_in_the_order_of_their_services(self, world: World) -> None:
        names = ["b", "a", "c"]
        services = [
            service(name, type=ServiceType.LOAD_BALANCER, external_local=True, health_check_node_port=32000 + number)
            for number, name in enumerate(names)
        ]
        for count in (1, 2, 3, 1):
            world.settle(world.batch(snapshot(*services[:count], node=NODE, host=HOST)))
            assert [port.service for port in world.shown[-1].ports] == sorted(f"shop/{name}" for name in names[:count])

    def test_status_shows_ports_and_counts(self, world: World) -> None:
        world.settle(world.batch(checked()))
        assert world.shown[-1] == HealthView((HealthPort("shop/web", 32000, {"IPv4": 1}),))
        world.settle(world.batch())
        assert world.shown[-1] == HealthView()

    def test_a_port_that_cannot_be_had_is_an_event_on_the_service_and_a_warning(self, world: World) -> None:
        with world.running():
            world.settle(world.batch(checked()))
            event = world.events.get(timeout=SECONDS)
        assert event == Event(
            "Service",
            "shop",
            "web",
            "FailedToStartServiceHealthcheck",
            "node n1 failed to start healthcheck 'shop/web' on port 32000: cannot listen at 192.0.2.1:32000: this node "
            "does not have that address",
            warning=True,
        )
        told = [view for view in world.shown if view.warnings]
        assert told[0].ports[0].error == "cannot listen at 192.0.2.1:32000: this node does not have that address"
        assert told[0].warnings == (f"health check of Service shop/web: {told[0].ports[0].error}",)


class TestProxy:
    def test_it_is_served_at_its_bind_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(replace(CONFIG, healthz_bind_address="0.0.0.0:10256"))
        served: list[tuple[Endpoint, ...]] = []

        def run(_self: HttpPorts, _stop: threading.Event) -> None:
            served.extend(each.endpoints for each in world.wanted().values())

        monkeypatch.setattr(HttpPorts, "run", run)
        world.health.run(threading.Event())
        assert served == [(Endpoint("0.0.0.0", 10256), Endpoint("::", 10256))]
        handler = world.wanted()["healthz"].handler
        assert handler(Request("/healthz", "127.0.0.1")).status == 200
        assert world.answered == [("healthz", 200)]
        world.server._loop.close()

    def test_an_empty_address_switches_it_off(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(HttpPorts, "run", lambda *_: None)
        world.health.run(threading.Event())
        assert world.wanted()["healthz"].endpoints == ()

    def test_a_conflict_is_an_event_on_the_node(self) -> None:
        with open_socket("127.0.0.1", 0) as other:
            port = other.getsockname()[1]
            world = World(replace(CONFIG, healthz_bind_address=f"127.0.0.1:{port}"))
            with world.running():
                event = world.events.get(timeout=SECONDS)
        assert event == Event(
            "Node",
            "",
            HERE,
            "FailedToStartProxierHealthcheck",
            f"failed to start proxier healthz on 127.0.0.1:{port}: cannot listen at 127.0.0.1:{port}: another process, "
            "or another Service, has that port",
            warning=True,
        )

    def test_a_conflict_that_may_not_be_ends_the_agent(self) -> None:
        with open_socket("127.0.0.1", 0) as other:
            port = other.getsockname()[1]
            config = replace(CONFIG, healthz_bind_address=f"127.0.0.1:{port}", bind_address_hard_fail=True)
            world = World(config)
            with world.server, pytest.raises(PrerequisiteError, match=f"healthzBindAddress 127.0.0.1:{port}: cannot"):
                world.health.run(threading.Event())
        assert world.events.empty()
