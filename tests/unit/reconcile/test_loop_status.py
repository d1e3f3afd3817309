"""What the loop publishes."""

from datetime import timedelta

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.tables import TableName
from ebpflb.errors import ObjectError
from ebpflb.reconcile.fake import FakeMapStore
from ebpflb.reconcile.ports import Kind
from tests.unit.reconcile.world import BOTH, NODE, START, WEB, Agent, pods, raiser


@pytest.fixture(name="agent")
def _agent() -> Agent:
    return Agent(FakeMapStore(Family.IPV4))


def test_a_refused_object_is_shown_and_its_last_good_state_stays(agent: Agent) -> None:
    agent.apply(WEB)
    error = ObjectError("Service", "default/web", "spec.ports", "is no list", "make it a list")
    agent.inbox.refuse(Kind.SERVICE, ("default", "web"), error)
    agent.loop.step()
    assert pods(agent) == [1, 2]
    (refused,) = agent.status.refused
    assert (refused.object, refused.field, refused.reason) == ("Service default/web", "spec.ports", "is no list")
    assert agent.status.healthy


def test_status_counts_objects_and_rows(agent: Agent) -> None:
    agent.apply(BOTH)
    status = agent.status
    assert status.node_name == NODE.name
    assert status.started_at == START
    assert status.objects == {"Service": 2, "EndpointSlice": 2, "Node": 1, "ServiceCIDR": 0, "Pod": 0}
    (family,) = status.families
    assert (family.family, family.service_ports) == (4, 2)
    used = {name: usage.used for name, usage in family.maps.items()}
    assert used == {
        "frontends": 4,
        "backends": 3,
        "services": 2,
        "members": 0,
        "node_addrs": 1,
        "devices": 1,
        "local_backends": 0,
        "source_ranges": 0,
        "opt_outs": 0,
        "service_cidrs": 0,
        "config": 1,
        "slots": 32,
    }
    assert {name: usage.capacity for name, usage in family.maps.items()}["slots"] == 1024


def test_status_says_whether_the_last_change_is_in_the_maps(agent: Agent) -> None:
    agent.store.fail_next(TableName.FRONTENDS)
    agent.apply(WEB)
    status = agent.status
    assert (status.pending_since, status.last_change_received_at) == (START, START)
    assert status.last_change_applied_at == START + timedelta(seconds=0.01)  # as far as the kernel took it
    assert not status.healthy
    agent.time.advance(1)
    agent.loop.step()
    status = agent.status
    assert status.pending_since is None
    assert status.last_change_applied_at == START + timedelta(seconds=1.01)
    assert status.healthy


def test_status_is_published_when_it_changes_only(agent: Agent) -> None:
    agent.apply(WEB)
    count = len(agent.statuses)
    agent.time.advance(5)
    agent.loop.step()
    assert len(agent.statuses) == count
    agent.inbox.source_error("connection lost")
    agent.loop.step()
    assert agent.status.source_error == "connection lost"


def test_a_status_that_cannot_be_published_stops_nothing_and_is_tried_again(agent: Agent) -> None:
    published = agent.statuses.append
    agent.loop._on_status = raiser(OSError("no space left"))  # type: ignore[assignment]
    agent.apply(WEB)
    assert pods(agent) == [1, 2]
    agent.loop._on_status = published
    agent.loop.step()
    assert agent.status.healthy
