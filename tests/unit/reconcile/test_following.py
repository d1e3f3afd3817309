"""When changes are followed one by one, and when everything is compiled again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.compile import compile_tables
from ebpflb.core.model import Host, Node
from ebpflb.core.tables import TableName
from ebpflb.reconcile import family as family_module
from ebpflb.reconcile.fake import Capacities, FakeMapStore, Operation
from ebpflb.reconcile.ports import Kind
from tests.unit.reconcile.world import (
    API_KEY,
    BOTH,
    HOST,
    NODE,
    WEB,
    WEB_KEY,
    Agent,
    Cluster,
    endpoint_slice,
    meaning,
    pods,
    service,
)


@pytest.fixture(name="compilations")
def _compilations(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    counted: list[None] = []

    def counting(*args: object, **rest: object) -> object:
        counted.append(None)
        return compile_tables(*args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(family_module, "compile_tables", counting)
    return counted


@pytest.fixture(name="agent")
def _agent(compilations: list[None]) -> Agent:
    agent = Agent(FakeMapStore(Family.IPV4))
    agent.apply(BOTH)
    assert len(compilations) == 1
    return agent


def step(agent: Agent, *changes: Callable[[], None]) -> None:
    for change in changes:
        change()
    agent.time.advance(0.01)
    agent.loop.step()


def upsert(agent: Agent, kind: Kind, obj: object) -> Callable[[], None]:
    return lambda: agent.inbox.upsert(kind, obj)  # type: ignore[arg-type]


def test_slices_and_services_are_followed(agent: Agent, compilations: list[None]) -> None:
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [2, 3])))
    assert pods(agent) == [2, 3]
    more = (
        upsert(agent, Kind.SERVICE, service("more", 9)),
        upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("more", [5])),
    )
    step(agent, *more)
    step(agent, lambda: agent.inbox.delete(Kind.SERVICE, ("default", "api")))
    assert API_KEY not in agent.store.read().frontends
    assert len(compilations) == 1


def test_what_is_followed_is_what_a_fresh_agent_compiles(agent: Agent) -> None:
    for listed in ([1], [], [1, 2, 3, 4], [4]):
        step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", listed, local=listed[:1])))
        fresh = Agent(FakeMapStore(Family.IPV4))
        fresh.apply(Cluster(BOTH.services, (endpoint_slice("web", listed, local=listed[:1]), BOTH.slices[1])))
        assert meaning(agent.store.read()) == meaning(fresh.store.read())


def test_rounds_without_a_change_do_nothing_to_what_is_followed(agent: Agent, compilations: list[None]) -> None:
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [3])))
    operations = agent.store.operations
    agent.time.advance(11)  # the grace period is over
    agent.loop.step()
    agent.time.advance(600)  # the comparison is due
    agent.loop.step()
    assert (len(compilations), agent.store.operations) == (1, operations)
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [4])))
    assert pods(agent) == [4]
    assert len(compilations) == 1


def test_a_comparison_repairs_what_is_followed(agent: Agent, compilations: list[None]) -> None:
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [3])))
    agent.store.delete(TableName.FRONTENDS, [WEB_KEY])
    agent.time.advance(601)
    agent.loop.step()
    assert (pods(agent), agent.status.families[0].repairs) == ([3], 1)
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [4])))
    assert pods(agent) == [4]
    assert len(compilations) == 1


@pytest.mark.parametrize(("host", "count"), [(replace(HOST, devices=()), 1), (Host(frozenset({bytes(4)})), 2)])
def test_devices_are_followed_and_addresses_are_not(
    agent: Agent, compilations: list[None], host: Host, count: int
) -> None:
    step(agent, lambda: agent.inbox.host(host))
    assert len(agent.store.read().devices) == len(host.devices)
    assert len(compilations) == count


def test_another_zone_concerns_all(agent: Agent, compilations: list[None]) -> None:
    step(agent, upsert(agent, Kind.NODE, Node(NODE.name, zone="z9", addresses=NODE.addresses)))
    assert len(compilations) == 2
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [3])))
    assert len(compilations) == 2


def test_a_frontend_that_two_want_concerns_both(agent: Agent, compilations: list[None]) -> None:
    twin = replace(service("twin", 9), cluster_ips=service("web").cluster_ips)
    step(agent, upsert(agent, Kind.SERVICE, twin))
    assert len(compilations) == 2
    assert [each.object for each in agent.status.families[0].refused] == ["Service default/twin"]
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("api", [6])))
    assert pods(agent, API_KEY) == [6]
    assert len(compilations) == 2, "who has no part in it is followed"
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [3])))
    assert (len(compilations), pods(agent)) == (3, [3])
    step(agent, lambda: agent.inbox.delete(Kind.SERVICE, ("default", "web")))
    assert len(compilations) == 4
    assert WEB_KEY in agent.store.read().frontends, "it is the other one's now"


def test_after_a_failure_everything_is_looked_at(agent: Agent, compilations: list[None]) -> None:
    agent.store.fail_when(lambda operation, target, _: (operation, target) == (Operation.PUT, TableName.FRONTENDS))
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [3])))
    assert not agent.status.healthy
    assert len(compilations) == 1
    agent.store.heal()
    agent.time.advance(60)
    agent.loop.step()
    assert (len(compilations), pods(agent)) == (2, [3])
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [4])))
    assert (len(compilations), pods(agent)) == (2, [4])


def test_without_room_everything_is_looked_at(compilations: list[None]) -> None:
    agent = Agent(FakeMapStore(Family.IPV4, Capacities(backends=3)))
    agent.apply(WEB)
    api = (
        upsert(agent, Kind.SERVICE, service("api", 2)),
        upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("api", [7, 8])),
    )
    step(agent, *api)
    assert len(compilations) == 2
    assert [each.object for each in agent.status.families[0].refused] == ["Service default/api"]
    step(agent, upsert(agent, Kind.ENDPOINT_SLICE, endpoint_slice("web", [1])))
    assert len(compilations) == 3
