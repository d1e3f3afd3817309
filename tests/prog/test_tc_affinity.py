"""ClientIP affinity: who is sent where again, for how long, and what ends it."""

import pytest

from ebpflb.core.abi import Algorithm, Counter, FrontendKind
from tests.prog.harness import Hook
from tests.prog.lab import Lab, delivers
from tests.prog.rows import Affinity
from tests.prog.services import BACKEND_IDS, GENERATION, SERVICE_ID, Service
from tests.prog.wire import Wire
from tests.prog.world import packed

pytestmark = pytest.mark.root

UPLINK = Hook.UPLINK_IN
FOUR = ("pod", "pod2", "remote", "remote2")
TIMEOUT_S = 10_000
MARGIN_S = 60
"""More than a step of a test takes, whatever else the machine does meanwhile."""
DRAWS = 100
"""One of four backends is missed by so many random choices once in 10^12 times."""


def sticky(*backends: str) -> Service:
    kind, algorithm = FrontendKind.CLUSTER_IP, Algorithm.RANDOM
    return Service("cluster:80", backends, kind, algorithm=algorithm, affinity_s=TIMEOUT_S)


def remembered(lab: Lab, client: str, backend: str, age: int) -> Affinity:
    return Affinity(packed(client, lab.family), SERVICE_ID, 0, BACKEND_IDS[backend], GENERATION, age)


def begins_with(lab: Lab, service: Service) -> str:
    """Load the service and open the client's first flow; return the backend that it got."""
    lab.load(service)
    return lab.chosen(UPLINK, Wire("client:4000", "cluster:80"))


def test_affinity_keeps_a_client_on_its_backend(lab: Lab) -> None:
    first = begins_with(lab, sticky("pod", "pod2"))
    (row,) = lab.datapath.affinities()
    assert row.age <= lab.datapath.elapsed()
    assert row == remembered(lab, "client", first, row.age)
    for port in range(5000, 5030):
        packet = Wire(f"client:{port}", "cluster:80")
        lab.play(
            delivers(UPLINK, packet, Wire(packet.src, f"{first}:8080")).opening().also(Counter.AFFINITY_HIT),
        )


def test_affinity_is_each_clients_own(lab: Lab) -> None:
    lab.load(sticky(*FOUR))
    found = set()
    for _attempt in range(DRAWS):
        lab.datapath.clear()
        found.add(
            (lab.chosen(UPLINK, Wire("client:1", "cluster:80")), lab.chosen(UPLINK, Wire("client2:1", "cluster:80")))
        )
    assert len({one for one, _two in found}) == len({two for _one, two in found}) == 4
    assert any(one != two for one, two in found)


def test_affinity_is_each_services_own(lab: Lab) -> None:
    other = Service("external:80", ("pod2",), FrontendKind.EXTERNAL_IP, id=2, affinity_s=TIMEOUT_S)
    lab.load(Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP, affinity_s=TIMEOUT_S), other)
    assert lab.chosen(UPLINK, Wire("client:4000", "cluster:80")) == "pod"
    assert lab.chosen(UPLINK, Wire("client:4000", "external:80")) == "pod2"


def test_affinity_holds_until_its_timeout_and_each_use_renews_it(lab: Lab) -> None:
    first = begins_with(lab, sticky("pod", "pod2"))
    hz = lab.datapath.clock.hz
    for port in range(5000, 5020):
        lab.datapath.age_affinities((TIMEOUT_S - MARGIN_S) * hz)
        assert lab.chosen(UPLINK, Wire(f"client:{port}", "cluster:80")) == first
        assert lab.datapath.affinities()[0].age < MARGIN_S * hz


def test_affinity_ends_with_its_timeout(lab: Lab) -> None:
    begins_with(lab, sticky(*FOUR))
    hits = lab.datapath.counters().get(Counter.AFFINITY_HIT, 0)
    found = set()
    for port in range(5000, 5000 + DRAWS):
        lab.datapath.age_affinities(TIMEOUT_S * lab.datapath.clock.hz)
        found.add(lab.chosen(UPLINK, Wire(f"client:{port}", "cluster:80")))
    assert found == set(FOUR)
    assert lab.datapath.counters().get(Counter.AFFINITY_HIT, 0) == hits


def test_affinity_to_a_backend_outside_the_set_is_forgotten(lab: Lab) -> None:
    """The backend lives on, for another service or for its old flows, but is no member."""
    assert begins_with(lab, sticky("pod")) == "pod"
    lab.load(sticky("pod2"), draining=["pod"])
    assert lab.chosen(UPLINK, Wire("client:4001", "cluster:80")) == "pod2"
    assert [row.backend_id for row in lab.datapath.affinities()] == [BACKEND_IDS["pod2"]]


def test_affinity_to_an_id_that_went_to_another_backend_is_forgotten(lab: Lab) -> None:
    begins_with(lab, sticky("pod"))
    lab.load(sticky("pod", "pod2"), generations={"pod": GENERATION + 1})
    hits = lab.datapath.counters().get(Counter.AFFINITY_HIT, 0)
    backend = lab.chosen(UPLINK, Wire("client:4001", "cluster:80"))
    assert lab.datapath.counters().get(Counter.AFFINITY_HIT, 0) == hits
    (row,) = lab.datapath.affinities()
    assert (row.backend_id, row.generation) == (BACKEND_IDS[backend], GENERATION + (backend == "pod"))


def test_affinity_does_not_defeat_a_local_policy(lab: Lab) -> None:
    kind = FrontendKind.LOAD_BALANCER
    lab.load(Service("cluster:80", ("remote",), kind, affinity_s=TIMEOUT_S))
    assert lab.chosen(UPLINK, Wire("client:4000", "cluster:80")) == "remote"
    lab.load(Service("cluster:80", ("remote", "pod"), kind, affinity_s=TIMEOUT_S, local_policy=True))
    assert lab.chosen(UPLINK, Wire("client:4001", "cluster:80")) == "pod"


def test_affinity_is_not_recorded_where_none_is_asked_for(lab: Lab) -> None:
    lab.load(Service("cluster:80", FOUR, FrontendKind.CLUSTER_IP))
    lab.chosen(UPLINK, Wire("client:4000", "cluster:80"))
    assert lab.datapath.affinities() == []
