"""What the loop does when nothing fails."""

import threading
from dataclasses import replace

import pytest

from ebpflb.core.abi import DeviceFlag, Family, FrontendFlag, NodeAddrFlag
from ebpflb.core.model import ServiceCIDR
from ebpflb.core.options import Forwarding, Options
from ebpflb.core.tables import DeviceRow, MemberKey, TableName
from ebpflb.reconcile.fake import Capacities, FakeMapStore, Operation
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.ports import Kind
from tests.unit.reconcile.world import (
    API_KEY,
    BOTH,
    HOST,
    NODE,
    WEB,
    WEB_KEY,
    WEB_SCALED,
    Agent,
    Cluster,
    StandingClock,
    backend_id,
    endpoint_slice,
    pods,
    service,
)


@pytest.fixture(name="agent")
def _agent() -> Agent:
    return Agent(FakeMapStore(Family.IPV4))


def test_a_delivered_cluster_is_in_the_maps(agent: Agent) -> None:
    agent.apply(BOTH)
    assert pods(agent) == [1, 2]
    assert pods(agent, API_KEY) == [4]
    assert agent.store.read().node_addrs == dict.fromkeys(HOST.addresses, NodeAddrFlag.NODE_PORTS)
    assert agent.store.read().devices == {2: DeviceRow(HOST.devices[0].addresses[0], 1500, DeviceFlag(0))}
    assert agent.status.healthy


def test_adopted_service_cidrs_stay_until_they_are_listed(agent: Agent) -> None:
    agent.apply(Cluster(service_cidrs=(ServiceCIDR("kubernetes", ("10.96.0.0/16",)),)))
    adopted = agent.store.read().service_cidrs
    assert adopted
    restarted = Agent(agent.store)
    restarted.inbox.host(HOST)
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE):
        restarted.inbox.replace(kind, [])
    restarted.time.advance(1)
    restarted.loop.step()
    assert restarted.status.waiting_for == ("ServiceCIDR",)
    assert agent.store.read().service_cidrs == adopted
    restarted.apply(Cluster())
    assert agent.store.read().service_cidrs == {}


def test_nothing_is_written_before_everything_is_listed_and_adopted_maps_stay(agent: Agent) -> None:
    agent.apply(WEB)
    restarted = Agent(agent.store)
    before = agent.store.operations
    restarted.loop.step()
    restarted.inbox.replace(Kind.SERVICE, [])
    restarted.inbox.host(HOST)
    restarted.inbox.replace(Kind.NODE, [NODE])
    restarted.time.advance(1)
    restarted.loop.step()
    assert agent.store.operations == before
    assert restarted.status.waiting_for == ("EndpointSlice", "ServiceCIDR")
    assert restarted.status.families[0].service_ports == 1
    assert not restarted.status.healthy


def test_a_restart_with_the_same_objects_writes_nothing(agent: Agent) -> None:
    agent.apply(BOTH)
    before, dump = agent.store.operations, agent.store.dump()
    restarted = Agent(agent.store)
    restarted.apply(BOTH)
    assert (agent.store.operations, agent.store.dump()) == (before, dump)
    assert restarted.status.healthy
    assert restarted.announced == [{}]  # the time to sweep what a killed predecessor did not


def test_vanished_backends_are_announced_once(agent: Agent) -> None:
    agent.apply(WEB)
    gone = backend_id(agent, 1)
    agent.apply(WEB_SCALED)
    agent.loop.step()
    assert [[row.key.address[-1] for row in vanished.values()] for vanished in agent.announced] == [[], [1]]
    assert set(agent.announced[1]) == {gone}


def test_a_backend_that_leaves_one_of_its_services_is_announced_as_a_member(agent: Agent) -> None:
    twins = (service("web", affinity_timeout_s=60), service("api", 2, affinity_timeout_s=60))
    both = Cluster(twins, (endpoint_slice("web", [1, 2]), endpoint_slice("api", [1, 2])))
    agent.apply(both)
    before, gone = agent.store.read(), backend_id(agent, 1)
    agent.apply(replace(both, slices=(endpoint_slice("web", [2]), endpoint_slice("api", [1, 2]))))
    assert agent.store.read().backends == before.backends
    (web,) = (number for number, name in before.services.items() if name.startswith("default/web:"))
    assert agent.announced == [{}, {}]
    assert agent.lost_members == [frozenset(), {MemberKey(web, gone)}]
    agent.apply(both)
    assert agent.lost_members[2:] == [frozenset()]


def test_members_that_others_removed_are_announced_when_it_is_seen(agent: Agent) -> None:
    sticky = replace(WEB, services=(service("web", affinity_timeout_s=60),))
    agent.apply(sticky)
    members = agent.store.read().members
    agent.store.delete(TableName.MEMBERS, tuple(members))
    agent.time.advance(600)
    agent.loop.step()
    assert agent.lost_members == [frozenset(), members.keys()]
    assert agent.store.read().members == members


def test_backends_that_vanish_at_a_restart_are_announced(agent: Agent) -> None:
    agent.apply(WEB)
    restarted = Agent(agent.store)
    restarted.apply(WEB_SCALED)
    assert [row.key.address[-1] for row in restarted.announced[0].values()] == [1]


def test_many_changes_in_one_batch_are_one_apply(agent: Agent) -> None:
    agent.apply(WEB)
    for pod in range(3, 50):
        agent.inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [pod]))
    agent.time.advance(0.01)
    agent.loop.step()
    assert pods(agent) == [49]
    assert len(agent.announced) == 2


def test_members_follow_affinity(agent: Agent) -> None:
    agent.apply(replace(WEB, services=(service("web", affinity_timeout_s=60),)))
    assert {key.backend_id for key in agent.store.read().members} == set(agent.store.read().backends)
    assert all(isinstance(key, MemberKey) for key in agent.store.read().members)


def test_run_works_until_told_to_stop() -> None:
    store = FakeMapStore(Family.IPV4)
    inbox, stop, applied = Inbox(NODE.name), threading.Event(), threading.Event()
    loop = ReconcileLoop({Family.IPV4: store}, inbox, NODE.name, on_applied=lambda *_: applied.set())
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    WEB.deliver(inbox)
    assert applied.wait(timeout=60)
    stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert WEB_KEY in store.read().frontends


def test_a_freed_id_is_used_again_only_after_the_grace_period(agent: Agent) -> None:
    agent.apply(WEB)
    freed = backend_id(agent, 1)
    agent.apply(WEB_SCALED)
    assert backend_id(agent, 3) != freed
    assert agent.loop.idle_s() == pytest.approx(10)
    agent.time.advance(9.9)
    agent.loop.step()
    agent.apply(Cluster(WEB.services, (endpoint_slice("web", [2, 3, 5]),)))
    assert backend_id(agent, 5) != freed
    agent.time.advance(0.1)
    agent.loop.step()
    agent.apply(Cluster(WEB.services, (endpoint_slice("web", [2, 3, 5, 6]),)))
    assert backend_id(agent, 6) == freed


def test_what_a_frontend_that_cannot_change_names_is_not_freed(agent: Agent) -> None:
    agent.apply(WEB)
    freed = backend_id(agent, 1)
    agent.store.fail_when(lambda _, target, key: (target, key) == (TableName.FRONTENDS, WEB_KEY))
    agent.apply(WEB_SCALED)
    for _ in range(10):
        agent.time.advance(60)
        agent.loop.step()
    agent.apply(Cluster(BOTH.services, (*WEB_SCALED.slices, endpoint_slice("api", [7]))))
    assert backend_id(agent, 1) == freed
    assert pods(agent) == [1, 2]
    assert pods(agent, API_KEY) == [7]


def test_a_service_id_that_a_range_still_names_is_not_given_to_another(agent: Agent) -> None:
    """Its clients would be let in there."""
    agent.apply(Cluster((service("web", accepts=[2]),), WEB.slices))
    (stale,) = agent.store.read().source_ranges
    agent.store.fail_when(lambda operation, target, _: (operation, target) == (Operation.DELETE, "source_ranges"))
    agent.apply(Cluster())
    for _ in range(10):
        agent.time.advance(60)
        agent.loop.step()
    agent.apply(Cluster((service("api", accepts=[3]),), ()))
    assert list(agent.store.read().services) != [stale.service_id]
    restarted = Agent(agent.store)
    restarted.apply(Cluster((service("other", accepts=[3]),), ()))
    tables = agent.store.read()
    assert stale in tables.source_ranges
    assert stale.service_id not in tables.services
    agent.store.heal()
    restarted.time.advance(60)
    restarted.loop.step()
    assert stale not in agent.store.read().source_ranges


def test_the_node_s_options_reach_the_maps() -> None:
    store = FakeMapStore(Family.IPV4)
    time = StandingClock()
    inbox = Inbox(NODE.name, time.clock())
    loop = ReconcileLoop({Family.IPV4: store}, inbox, NODE.name, clock=time.clock(), options=Options(Forwarding.DSR))
    node_port = Cluster((service("web", node_port=30080),), (endpoint_slice("web", [1], local=[1]),))
    node_port.deliver(inbox)
    time.advance(0.01)
    loop.step()
    direct = {key.port for key, row in store.read().frontends.items() if row.flags & FrontendFlag.DSR}
    assert direct == {30080}
    assert [key.address[-1] for key in store.read().local_backends] == [1]


def test_a_service_refused_for_lack_of_room_is_programmed_when_there_is_room() -> None:
    agent = Agent(FakeMapStore(Family.IPV4, Capacities(backends=4)))
    agent.apply(WEB)
    agent.apply(Cluster((service("api", 2),), (endpoint_slice("api", [5, 6]),)))
    (family,) = agent.status.families
    assert [(refused.object, bool(refused.remedy)) for refused in family.refused] == [("Service default/api", True)]
    assert API_KEY not in agent.store.read().frontends
    agent.time.advance(10)
    agent.loop.step()
    assert pods(agent, API_KEY) == [5, 6]
    assert agent.status.families[0].refused == ()
