"""The maps after a failure or a crash at every single operation: no frontend is ever broken, and all heals."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from ebpflb.core.abi import Family, FrontendFlag
from ebpflb.core.tables import FrontendKey, TableName
from ebpflb.reconcile.fake import Capacities, FakeMapStore, SimulatedCrash
from tests.unit.reconcile.world import (
    Agent,
    Cluster,
    Meaning,
    accepted,
    endpoint_slice,
    meaning,
    service,
    unwrapped,
)

ROOMY = Capacities(slots=8192)
HANDMADE = [
    Cluster(),
    Cluster((service("web"),), (endpoint_slice("web", [1, 2, 3], local=[2]),)),
    Cluster((service("web", node_port=30080),), (endpoint_slice("web", [2, 3], terminating=[2]),)),
    Cluster(
        (service("web", affinity_timeout_s=60), service("api", 2)),
        (endpoint_slice("web", [3, 4]), endpoint_slice("api", [1, 2])),
    ),
    Cluster((service("api", 1), service("web", 2)), (endpoint_slice("api", [1]), endpoint_slice("web", []))),
    Cluster((service("api", 1),), ()),
    Cluster((service("api", 1, accepts=[2, 3]),), (endpoint_slice("api", [1, 2], local=[1]),)),
    Cluster((service("api", 1, accepts=[3, 4]),), (endpoint_slice("api", [1, 2, 3], local=[2, 3]),)),
    Cluster((service("web", 1, accepts=[3]),), (endpoint_slice("web", [3], local=[3], terminating=[3]),)),
    Cluster((service("web", 1),), (endpoint_slice("web", [3], local=[3]),)),
    Cluster(),
]


def random_cluster(random: Random) -> Cluster:
    names = [name for name in ("a", "b", "c", "d") if random.random() < 0.7]
    numbers = random.sample(range(1, 6), len(names))
    return Cluster(
        tuple(
            service(
                name,
                number,
                node_port=random.choice([0, 30000 + number]),
                affinity_timeout_s=random.choice([0, 0, 60]),
                accepts=random.choice([(), (), (2,), (2, 3)]),
            )
            for name, number in zip(names, numbers, strict=True)
        ),
        tuple(
            endpoint_slice(
                name,
                pods := random.sample(range(1, 8), random.randint(0, 5)),
                local=[pod for pod in pods if random.random() < 0.3],
                terminating=[pod for pod in pods if random.random() < 0.2],
            )
            for name in names
        ),
    )


def transitions() -> Iterator[tuple[Cluster, Cluster]]:
    yield from pairwise(HANDMADE)
    random = Random(20260101)
    yield from pairwise([random_cluster(random) for _ in range(12)])


TRANSITIONS = list(transitions())


class Transition:
    """A store that holds one cluster, what it means, and what it should mean next."""

    def __init__(self, before: Cluster, after: Cluster) -> None:
        self.after = after
        self.store = FakeMapStore(Family.IPV4, ROOMY)
        Agent(self.store).apply(before)
        self.old = meaning(self.store.read())
        self.accepted = [accepted(self.store.read())]
        finished = copy.deepcopy(self.store)
        agent = Agent(finished)
        agent.apply(after)
        assert agent.status.healthy
        self.new = meaning(finished.read())
        self.accepted.append(accepted(finished.read()))
        self.operations = finished.operations - self.store.operations

    def check_no_frontend_is_broken(self, store: FakeMapStore, *, must_write: bool = False) -> None:
        """Each frontend does what it did before or what it should do now: nothing between, nothing else."""
        tables = store.read()
        for key, found in meaning(tables).items():
            assert found in self.expected(key)
            if found.flags & FrontendFlag.SOURCE_RANGES:
                self.check_clients(found.service, accepted(tables)[found.service], must_write=must_write)
        assert all(address == backend.address for address, backend in unwrapped(tables))

    def check_clients(self, name: str, found: set[str], *, must_write: bool) -> None:
        """Nobody can connect who never was to. Whoever was to and still is can: unless a new range failed."""
        before, after = (state.get(name, set()) for state in self.accepted)
        assert found <= before | after
        assert found >= (before & after)
        if must_write and not before:
            assert found == after

    def expected(self, key: FrontendKey) -> list[Meaning]:
        return [state[key] for state in (self.old, self.new) if key in state]


@pytest.fixture(name="transition", params=TRANSITIONS, ids=range(len(TRANSITIONS)))
def _transition(request: pytest.FixtureRequest) -> Transition:
    return Transition(*request.param)


def test_a_crash_at_any_operation_breaks_nothing_and_a_restart_heals(transition: Transition) -> None:
    for survived in range(transition.operations):
        store = copy.deepcopy(transition.store)
        store.crash_after(survived)
        with pytest.raises(SimulatedCrash):
            Agent(store).apply(transition.after)
        transition.check_no_frontend_is_broken(store, must_write=True)
        store.heal()
        restarted = Agent(store)
        restarted.apply(transition.after)
        assert restarted.status.healthy
        assert meaning(store.read()) == transition.new
        assert rows_that_nobody_needs(store) == []


@pytest.mark.parametrize(("before", "after"), TRANSITIONS, ids=range(len(TRANSITIONS)))
def test_a_crash_while_a_service_cannot_be_read_leaves_it_as_it_was(before: Cluster, after: Cluster) -> None:
    """It stays, whatever else happens, until it is known to be gone."""
    unread = Cluster(
        (service("unread", 9, node_port=30090, affinity_timeout_s=60),), (endpoint_slice("unread", [1, 9]),)
    )
    store = FakeMapStore(Family.IPV4, ROOMY)
    Agent(store).apply(Cluster(unread.services + before.services, unread.slices + before.slices))
    kept = meaning_of_unread(store)
    assert len(kept) == 2
    for survived in range(0, 40, 3):
        crashed = copy.deepcopy(store)
        crashed.crash_after(survived)
        with suppress(SimulatedCrash):
            incomplete(crashed).apply(after)
        assert meaning_of_unread(crashed) == kept
        crashed.heal()
        restarted = incomplete(crashed)
        restarted.apply(after)
        assert restarted.status.healthy
        assert meaning_of_unread(crashed) == kept
        restarted.inbox.incomplete(is_incomplete=False)
        restarted.time.advance(0.01)
        restarted.loop.step()
        assert meaning_of_unread(crashed) == {}
        assert rows_that_nobody_needs(crashed) == []


def incomplete(store: FakeMapStore) -> Agent:
    agent = Agent(store)
    agent.inbox.incomplete(is_incomplete=True)
    return agent


def meaning_of_unread(store: FakeMapStore) -> dict[FrontendKey, Meaning]:
    return {key: row for key, row in meaning(store.read()).items() if row.service == "default/unread:http/TCP"}


def test_a_failure_of_any_operation_breaks_nothing_and_the_retry_heals(transition: Transition) -> None:
    for survived in range(transition.operations):
        store = copy.deepcopy(transition.store)
        failing = store.operations + survived + 1
        store.fail_when(lambda *_, store=store, failing=failing: store.operations == failing)
        agent = Agent(store)
        agent.apply(transition.after)
        transition.check_no_frontend_is_broken(store)
        agent.time.advance(1)
        agent.loop.step()
        assert agent.status.healthy
        assert meaning(store.read()) == transition.new
        assert rows_that_nobody_needs(store) == []


def test_a_store_that_fails_for_good_never_breaks_a_frontend(transition: Transition) -> None:
    for survived in range(transition.operations):
        store = copy.deepcopy(transition.store)
        failing = store.operations + survived + 1
        store.fail_when(lambda *_, store=store, failing=failing: store.operations >= failing)
        agent = Agent(store)
        for _ in range(3):
            agent.apply(transition.after)
            transition.check_no_frontend_is_broken(store)
            agent.time.advance(60)
        assert not agent.status.healthy
        store.heal()
        agent.loop.step()
        assert agent.status.healthy
        assert meaning(store.read()) == transition.new


def rows_that_nobody_needs(store: FakeMapStore) -> list[str]:
    tables = store.read()
    services = {frontend.service_id for frontend in tables.frontends.values()}
    return [
        *(f"service {number}" for number in tables.services if number not in services),
        *(
            f"{table.value} {key}"
            for table in (TableName.MEMBERS, TableName.LOCAL_BACKENDS, TableName.SOURCE_RANGES)
            for key in tables.rows(table)
            if key.service_id not in services
        ),
    ]
