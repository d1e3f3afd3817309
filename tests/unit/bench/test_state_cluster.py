"""The cluster whose maps are weighed: as many rows of each kind as its name says."""

import pytest

from ebpflb.bench.measure import RefusedError
from ebpflb.bench.measures.memory import check_rows
from ebpflb.bench.state_cluster import Cluster
from ebpflb.core.abi import Algorithm, Family, FrontendKind
from ebpflb.core.compile import compile_tables
from ebpflb.core.ids import Allocation
from ebpflb.core.tables import Tables
from tests.unit.core.factories import ROOMY

CLUSTER = Cluster(services=20, endpoints=10, load_balancers=3)


def tables(cluster: Cluster, family: Family = Family.IPV4) -> Tables:
    compiled = compile_tables(cluster.snapshot(family), family, Allocation(), ROOMY)
    assert not compiled.refused
    return compiled.tables


@pytest.mark.parametrize("family", Family)
def test_every_service_has_its_own_backends_and_some_an_outside(family: Family) -> None:
    rows = tables(CLUSTER, family)
    assert len(rows.backends) == 200
    assert len(rows.services) == 20
    kinds = [row.kind for row in rows.frontends.values()]
    assert kinds.count(FrontendKind.CLUSTER_IP) == 20
    assert kinds.count(FrontendKind.NODE_PORT) == kinds.count(FrontendKind.LOAD_BALANCER) == 3
    maglev = {row.cluster for row in rows.frontends.values() if row.algorithm is Algorithm.MAGLEV}
    assert [where.length for where in maglev if where.length] == [1_021] * 3


def test_rows_that_are_not_those_meant_are_refused() -> None:
    rows = tables(CLUSTER)
    check_rows(rows, rows, CLUSTER)
    with pytest.raises(RefusedError, match="3 Maglev tables, 4 were meant"):
        check_rows(rows, rows, Cluster(20, 10, 4))
    with pytest.raises(RefusedError, match="200 backends"):
        check_rows(rows, rows, Cluster(30, 10, 3))
    missing = Tables(Family.IPV4, dict(list(rows.frontends.items())[:-1]), rows.backends, rows.services)
    with pytest.raises(RefusedError, match="not have the rows"):
        check_rows(rows, missing, CLUSTER)


def test_more_outside_than_services_or_node_ports_are_refused() -> None:
    for services, outside in ((10, 11), (10_000, 2_769), (10, -1)):
        with pytest.raises(ValueError, match="NodePort"):
            Cluster(services, 10, outside)
