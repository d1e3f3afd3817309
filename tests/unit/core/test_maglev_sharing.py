"""Ports and frontends with the same backends share one table: a change under 400 ports computes one."""

from collections.abc import Sequence

import pytest

from ebpflb.core import choice, maglev, maglev_cache
from ebpflb.core.abi import Algorithm, Family, Protocol
from ebpflb.core.compile import Compiled, compile_tables
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.maglev import Indexes, maglev_tables
from ebpflb.core.maglev_cache import Identities, TableCache
from ebpflb.core.maglev_claims import Steps
from ebpflb.core.model import EndpointPort, ServicePort, ServiceType
from ebpflb.core.tables import EMPTY_RANGE
from tests.unit.core.factories import HERE, endpoint, endpoint_slice, service, snapshot

PORTS = 400
LARGE = Limits(1 << 14, 1 << 14, 1 << 10, 1 << 21, 1 << 14, 1 << 10, 1 << 10)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the sizes of the tables that were computed, whichever function was asked."""
    sizes: list[int] = []
    steps = maglev._steps

    def counting(digests: Sequence[bytes], tables: int, size: int) -> Steps:
        sizes.extend([size] * tables)
        return steps(digests, tables, size)

    monkeypatch.setattr(maglev, "_steps", counting)
    choice.TABLES.clear()
    return sizes


def cluster(*, target: int, last: int, previous: Allocation) -> Compiled:
    """400 ports of one load balancer over ten pods; ``target``: the step from one port's targetPort to the next's."""
    ports = tuple(ServicePort(f"p{number}", Protocol.TCP, 1000 + number, 30000 + number) for number in range(PORTS))
    behind = tuple(EndpointPort(f"p{number}", Protocol.TCP, 8000 + target * number) for number in range(PORTS))
    pods = [endpoint(f"10.244.1.{number}") for number in (*range(1, 10), last)]
    shown = snapshot(
        service(ports=ports, type=ServiceType.LOAD_BALANCER, load_balancer_ips=(bytes([198, 51, 100, 1]),)),
        endpoint_slice(*pods, ports=behind),
    )
    compiled = compile_tables(shown, Family.IPV4, previous, LARGE)
    assert not compiled.refused
    return compiled


@pytest.mark.parametrize(("target", "ranges"), [(0, 1), (1, PORTS)])
def test_one_backend_that_changes_under_400_ports_computes_one_table(
    target: int, ranges: int, computed: list[int]
) -> None:
    before = cluster(target=target, last=10, previous=Allocation())
    assert computed == [1021]
    after = cluster(target=target, last=11, previous=before.allocation)
    assert computed == [1021, 1021]
    rows = [row for row in after.tables.frontends.values() if row.algorithm is Algorithm.MAGLEV and row.cluster.length]
    assert len(rows) == 2 * PORTS, "a NodePort and the load balancer's address for each port"
    assert len({row.cluster for row in rows}) == ranges, "ports of one targetPort have the same backends, and one range"


def test_tables_of_many_services_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one by one, as for a change of one Service, they are the same."""
    names = [f"s{number}" for number in range(100)]
    shown = snapshot(
        *(service(name, ip=f"10.97.0.{at}", algorithm=Algorithm.MAGLEV) for at, name in enumerate(names)),
        *(
            endpoint_slice(endpoint(f"10.1.{at}.1"), endpoint(f"10.1.{at}.2"), of=n, name=n)
            for at, n in enumerate(names)
        ),
    )
    asked: list[int] = []

    def counting(sets: Sequence[Identities], size: int) -> list[Indexes]:
        asked.append(len(sets))
        return maglev_tables(sets, size)

    monkeypatch.setattr(maglev_cache, "maglev_tables", counting)
    choice.TABLES.clear()
    compiled = compile_tables(shown, Family.IPV4, Allocation(), LARGE)
    assert asked == [100]
    monkeypatch.setattr(TableCache, "prepare", lambda *_: None)
    choice.TABLES.clear()
    alone = compile_tables(shown, Family.IPV4, Allocation(), LARGE)
    assert len(compiled.tables.slots) == 100
    assert {where: ids.tolist() for where, ids in compiled.tables.slots.items()} == {
        where: ids.tolist() for where, ids in alone.tables.slots.items()
    }


def test_a_local_policy_computes_the_table_of_this_nodes_backends_alone(computed: list[int]) -> None:
    shown = snapshot(
        service(algorithm=Algorithm.MAGLEV, internal_local=True),
        endpoint_slice(endpoint("10.1.0.1", node=HERE), endpoint("10.1.0.2"), endpoint("10.1.0.3")),
    )
    tables = compile_tables(shown, Family.IPV4, Allocation(), LARGE).tables
    (row,) = (row for row in tables.frontends.values() if row.algorithm is Algorithm.MAGLEV)
    assert row.cluster == EMPTY_RANGE
    assert set(tables.slots[row.local].tolist()) == set(tables.backends)
    assert computed == [251]
