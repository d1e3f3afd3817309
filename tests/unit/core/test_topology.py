from collections.abc import Sequence

import pytest

from ebpflb.core.topology import Candidate, Selection, select
from tests.unit.core.factories import HERE, candidate

READY = candidate("10.0.0.1")
READY_HERE = candidate("10.0.0.2", local=True)
FALLBACK = candidate("10.0.0.3", ready=False, terminating=True)
FALLBACK_HERE = candidate("10.0.0.4", local=True, ready=False, terminating=True)
DEAD = candidate("10.0.0.5", ready=False, serving=False, terminating=True)
UNREADY = candidate("10.0.0.6", ready=False, serving=False)
ODD = candidate("10.0.0.7", ready=False)
PUBLISHED = candidate("10.0.0.8", terminating=True)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([], Selection()),
        ([READY], Selection((READY,), (), (), has_any=True)),
        ([READY_HERE, READY], Selection((READY_HERE, READY), (READY_HERE,), (), has_any=True)),
        ([READY, FALLBACK], Selection((READY,), (), (FALLBACK,), has_any=True)),
        ([FALLBACK], Selection((FALLBACK,), (), (), has_any=True)),
        ([FALLBACK_HERE, FALLBACK], Selection((FALLBACK_HERE, FALLBACK), (FALLBACK_HERE,), (), has_any=True)),
        ([FALLBACK_HERE, READY], Selection((READY,), (FALLBACK_HERE,), (), has_any=True)),
        ([READY_HERE, FALLBACK_HERE], Selection((READY_HERE,), (READY_HERE,), (FALLBACK_HERE,), has_any=True)),
        ([DEAD, UNREADY, ODD], Selection()),
        ([PUBLISHED], Selection((PUBLISHED,), (), (), has_any=True)),
    ],
)
def test_endpoints_are_sorted_by_their_conditions(candidates: Sequence[Candidate], expected: Selection) -> None:
    assert select(candidates, HERE, "z1") == expected


def hinted(ip: str, nodes: str = "", zones: str = "", **rest: bool) -> Candidate:
    return candidate(ip, for_nodes=tuple(nodes.split()), for_zones=tuple(zones.split()), **rest)


@pytest.mark.parametrize(
    ("candidates", "node", "zone", "kept"),
    [
        ([hinted("10.0.0.1", "n1"), hinted("10.0.0.2", "n2")], "n1", "z1", [0]),
        ([hinted("10.0.0.1", "n1"), hinted("10.0.0.2", "n2 n1")], "n1", "z1", [0, 1]),
        ([hinted("10.0.0.1", "n3", "z1"), hinted("10.0.0.2", "n2", "z2")], "n1", "z1", [0]),
        ([hinted("10.0.0.1", "n1", "z1"), hinted("10.0.0.2", "", "z2")], "n1", "z2", [1]),
        ([hinted("10.0.0.1", "", "z1"), hinted("10.0.0.2", "", "z2")], "n1", "z1", [0]),
        ([hinted("10.0.0.1", "", "z1"), hinted("10.0.0.2", "", "z2")], "n1", "z3", [0, 1]),
        ([hinted("10.0.0.1", "", "z1"), hinted("10.0.0.2", "", "z2")], "n1", "", [0, 1]),
        ([hinted("10.0.0.1", "", "z1"), hinted("10.0.0.2")], "n1", "z1", [0, 1]),
        ([hinted("10.0.0.1", "n1"), hinted("10.0.0.2")], "n1", "z1", [0, 1]),
        ([hinted("10.0.0.1", "n1"), hinted("10.0.0.2", "n2")], "", "z1", [0, 1]),
    ],
)
def test_hints_narrow_the_cluster_set(candidates: list[Candidate], node: str, zone: str, kept: list[int]) -> None:
    selection = select(candidates, node, zone)
    assert selection.cluster == tuple(candidates[index] for index in kept)
    assert selection.draining == ()


def test_hints_of_endpoints_that_are_not_ready_do_not_count() -> None:
    here = hinted("10.0.0.1", "n1")
    leaving = candidate("10.0.0.2", ready=False, terminating=True)
    assert select([here, hinted("10.0.0.3", "n2"), leaving], "n1", "").cluster == (here,)


def test_hints_narrow_neither_the_local_set_nor_the_fallback() -> None:
    here = hinted("10.0.0.1", "n2", "z2", local=True)
    there = hinted("10.0.0.2", "n1", "z1")
    assert select([here, there], "n1", "z1") == Selection((there,), (here,), (), has_any=True)
    leaving = [hinted("10.0.0.1", "n2", ready=False, terminating=True), hinted("10.0.0.2", "n1", ready=False)]
    assert select(leaving, "n1", "z1").cluster == (leaving[0],)


def test_a_terminating_endpoint_that_hints_leave_out_drains() -> None:
    here = hinted("10.0.0.1", "n1")
    there = hinted("10.0.0.2", "n2", terminating=True)
    assert select([here, there], "n1", "").draining == (there,)
