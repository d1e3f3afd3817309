"""docs/pitfalls.md promises tests: they exist, under the names it gives. And the classes that no kernel need show.

docs/pitfalls.md --rows--> class, what is done, tests            file, name --> a function of that file
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from ebpflb.core.abi import Family, FrontendKind
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.health import HealthChecks
from ebpflb.core.model import ServiceType, parse_address
from ebpflb.datapath.layout import MAP_NAMES, layout_of
from ebpflb.host.inventory import Address, AddressKey, Inventory
from ebpflb.host.links import Link, RolePatterns
from ebpflb.reconcile.fake import FakeMapStore, Operation
from tests.story import Story
from tests.unit.core.factories import HERE, NODE_HTTP, ROOMY, dialled, endpoint, endpoint_slice, service, snapshot
from tests.unit.reconcile.world import WEB, WEB_SCALED, Agent, pods

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "pitfalls.md"
CLASSES = range(1, 21)
U32_BYTES = 4


class Row(NamedTuple):
    """A line of the page's table."""

    number: int
    deed: str
    tests: tuple[tuple[str, str], ...]
    """File and function."""
    later: bool


@cache
def rows() -> tuple[Row, ...]:
    """Read the page."""
    lines = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    return tuple(Row(int(number), deed, tuple(_names(tests)), "later, issue" in tests) for number, deed, tests in lines)


def _names(cell: str) -> Iterator[tuple[str, str]]:
    """Yield file and function for each `function` of a cell; those without a file are of the file before."""
    path = ""
    for quoted in re.findall(r"`([^`]+)`", cell):
        if "::" in quoted:
            path = quoted.partition("::")[0]
        yield path, quoted.rpartition("::")[2]


@cache
def functions(path: str) -> frozenset[str]:
    """Return the test functions of a file."""
    tree = ast.parse((REPOSITORY / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_class_has_its_row_and_no_other() -> None:
    assert [row.number for row in rows()] == list(CLASSES)


@pytest.mark.parametrize("number", CLASSES)
def test_every_row_names_tests_that_exist(number: int) -> None:
    (row,) = (row for row in rows() if row.number == number)
    assert row.tests or row.later
    missing = [(path, name) for path, name in row.tests if name not in functions(path)]
    assert not missing
    own = [name for _path, name in row.tests if name.startswith("test_pitfall_")]
    assert all(name.startswith(f"test_pitfall_{number:02}_") for name in own)
    assert own or row.later


@pytest.mark.parametrize(
    "path", [str(path) for path in REPOSITORY.glob("tests/**/test_pitfalls*.py")], ids=lambda path: Path(path).stem
)
def test_every_test_that_is_named_after_a_class_is_in_the_table(path: str) -> None:
    known = {name for row in rows() for _path, name in row.tests}
    assert {name for name in functions(path) if name.startswith("test_pitfall_")} <= known


def test_pitfall_02_write_that_failed_is_forgotten() -> None:
    """It is tried again until the map takes it, though no object changes any more."""
    agent = Agent(FakeMapStore(Family.IPV4))
    agent.apply(WEB)
    agent.store.fail_when(lambda operation, target, _: (operation, target) == (Operation.PUT, "frontends"))
    agent.apply(WEB_SCALED)
    for delay in (1, 2, 4):
        assert pods(agent) == [1, 2]
        assert not agent.status.healthy
        assert agent.loop.idle_s() == pytest.approx(delay)
        agent.time.advance(delay)
        agent.loop.step()
    agent.store.heal()
    agent.time.advance(8)
    agent.loop.step()
    assert pods(agent) == [2, 3]
    assert agent.status.healthy


def test_pitfall_15_health_check_counts_what_is_going() -> None:
    """A balancer shall turn away from a node before its last backend is gone, though that one still serves."""
    balanced = service(type=ServiceType.LOAD_BALANCER, external_local=True, health_check_node_port=32000)
    checks, story = HealthChecks(HERE), Story()
    leaving = endpoint("10.0.0.1", HERE, ready=False, terminating=True)
    for listed, count in (
        ([endpoint("10.0.0.1", HERE), endpoint("10.0.0.2")], 1),
        ([leaving, endpoint("10.0.0.2")], 0),
        ([leaving], 0),
    ):
        checks.take(story.changes(snapshot(balanced, endpoint_slice(*listed))))
        assert checks.current[balanced.key].count(Family.IPV4) == count


@pytest.mark.parametrize("family", Family)
def test_pitfall_16_ids_run_out(family: Family) -> None:
    """65,535 frontends were enough for everybody, elsewhere."""
    columns = [
        (name, column, field[0].itemsize)
        for name in MAP_NAMES
        for part in (layout_of(name, family).key, layout_of(name, family).value)
        for column, field in (part.fields or {}).items()
        if column in {"service_id", "backend_id"} and field[0].subdtype is None
    ]
    assert {column for _name, column, _size in columns} == {"service_id", "backend_id"}
    assert {size for _name, _column, size in columns} == {U32_BYTES}


def test_pitfall_16_full_map_is_silent() -> None:
    """Who does not fit is named, whole, with the map that is full; the others are served."""
    listed = [endpoint_slice(endpoint("10.0.0.1")), endpoint_slice(endpoint("10.0.0.2"), name="api-1", of="api")]
    state = snapshot(service(), service("api", ip="10.96.0.2"), *listed)
    result = compile_tables(state, Family.IPV4, Allocation(), replace(ROOMY, frontends=3))
    (refusal,) = result.refused
    assert refusal.service in {"shop/web", "shop/api"}
    assert "map frontends has room for" in refusal.reason
    assert len(dialled(result.tables)) == 1


def test_pitfall_19_source_ranges_restrict_other_frontends_than_asked() -> None:
    """As kube-proxy: the load balancer's addresses. Who must not use NodePorts has to be told so elsewhere."""
    restricted = service(
        type=ServiceType.LOAD_BALANCER,
        ports=[NODE_HTTP],
        load_balancer_ips=(parse_address("203.0.113.9"),),
        external_ips=(parse_address("198.51.100.9"),),
        source_ranges=("192.0.2.0/24",),
    )
    frontends = dialled(compile_tables(snapshot(restricted), Family.IPV4, Allocation(), ROOMY).tables)
    kinds = {row.kind for row in frontends.values() if row.flags & row.flags.SOURCE_RANGES}
    assert kinds == {FrontendKind.LOAD_BALANCER}
    assert len({row.kind for row in frontends.values()}) == len(FrontendKind) - 1, "all but the addresses as such"


def test_pitfall_20_link_local_address_becomes_the_source() -> None:
    inventory = Inventory(RolePatterns(uplinks=("eth*",)))
    inventory.put_link(Link(3, "eth0"))
    for text, is_global in (("fe80::1", False), ("2001:db8::1", True)):
        packed = parse_address(text)
        inventory.put_address(Address(AddressKey(3, packed, packed, 64), is_global=is_global))
    (device,) = inventory.host().devices
    assert [str(ip_address(each)) for each in device.addresses] == ["2001:db8::1"]
