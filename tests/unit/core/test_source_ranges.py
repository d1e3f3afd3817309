"""Who may use a Service's load-balancer addresses, as kube-proxy reads the list."""

from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.abi import Family, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.compile import Allocation, Compiled, Limits, compile_tables
from ebpflb.core.model import Node, Service, ServicePort, ServiceType, format_address, parse_address
from ebpflb.core.options import Options
from ebpflb.core.source_ranges import SourceRanges, parse_prefix
from ebpflb.core.tables import Prefix
from tests.unit.core.factories import HERE, NODE_HTTP, ROOMY, dialled, service, snapshot

V4, V6 = Family.IPV4, Family.IPV6
VIPS = (parse_address("203.0.113.9"), parse_address("2001:db8::9"))
OURS = (parse_address("192.0.2.77"), parse_address("fd00::77"))
RESTRICTED = FrontendFlag.SOURCE_RANGES


def balanced(*ranges: str, **rest: Any) -> Service:
    rest = {"type": ServiceType.LOAD_BALANCER, "load_balancer_ips": VIPS, "ports": [NODE_HTTP]} | rest
    return service(source_ranges=ranges, **rest)


def compiled(
    balanced_service: Service, limits: Limits = ROOMY, *, family: Family = V4, addresses: tuple[bytes, ...] = ()
) -> Compiled:
    state = snapshot(balanced_service, node=Node(HERE, addresses=addresses))
    return compile_tables(state, family, Allocation(), limits)


def ranges(result: Compiled) -> list[str]:
    """Service id and range of each row."""
    keys = result.tables.source_ranges
    return [f"{key.service_id} {format_address(key.address)}/{key.prefix_length}" for key in keys]


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("192.0.2.0/24", ("192.0.2.0", 24)),
        (" 192.0.2.77/24\t", ("192.0.2.0", 24)),
        ("010.001.0.0/016", ("10.1.0.0", 16)),
        ("0.0.0.0/0", ("0.0.0.0", 0)),
        ("203.0.113.9/32", ("203.0.113.9", 32)),
        ("2001:DB8::1/32", ("2001:db8::", 32)),
        ("::/0", ("::", 0)),
        ("::ffff:192.0.2.9/120", ("192.0.2.0", 24)),
        ("::ffff:0:0/95", ("::fffe:0:0", 95)),
    ],
)
def test_a_range_is_read_sloppily(text: str, prefix: tuple[str, int]) -> None:
    assert parse_prefix(text) == Prefix(parse_address(prefix[0]), prefix[1])


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/8", "192.0.2.0", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/+8", "192.0.2.0/ 8"),
        *("192.0.2/24", "192.0.2.0/255.255.255.0", "192.0.2.0/24/24", "::/129", "fe80::1%eth0/64", "192.0.2.0/²"),
        *("192.0.2.0/0000024", "example.org/24", "192.0.2.0/24, 10.0.0.0/8"),
    ],
)
def test_what_is_no_range(text: str) -> None:
    assert parse_prefix(text) is None


def test_only_load_balancer_frontends_are_restricted() -> None:
    external = parse_address("198.51.100.9")
    result = compiled(balanced("192.0.2.0/24", "10.0.0.0/8", "192.0.2.9/24", external_ips=(external,)))
    flags = {row.kind: row.flags & RESTRICTED for row in dialled(result.tables).values()}
    assert [kind for kind, flag in flags.items() if flag] == [FrontendKind.LOAD_BALANCER]
    assert len(flags) == 4
    assert ranges(result) == ["1 10.0.0.0/8", "1 192.0.2.0/24"]
    assert set(result.tables.source_ranges.values()) == {0}
    assert result.refused == ()


def test_every_service_port_has_its_rows() -> None:
    ports = [NODE_HTTP, ServicePort("dns", Protocol.UDP, 53)]
    assert ranges(compiled(balanced("10.0.0.0/8", ports=ports))) == ["1 10.0.0.0/8", "2 10.0.0.0/8"]


@pytest.mark.parametrize("texts", [(), ("fd00::/8",), ("fd00::/8", "::/129")])
def test_ranges_of_the_other_family_restrict_nothing(texts: tuple[str, ...]) -> None:
    result = compiled(balanced(*texts))
    assert not any(row.flags & RESTRICTED for row in result.tables.frontends.values())
    assert (result.tables.source_ranges, result.refused) == ({}, ())


def test_without_a_load_balancer_frontend_there_are_no_rows() -> None:
    result = compiled(balanced("192.0.2.0/24", "bad", load_balancer_ips=VIPS[1:]))
    assert (result.tables.source_ranges, result.refused) == ({}, ())
    only_ipv4 = compiled(balanced("2001:db8::/32", "bad"), family=V6)
    assert (only_ipv4.tables.frontends, only_ipv4.tables.source_ranges, only_ipv4.refused) == ({}, {}, ())


def test_a_malformed_range_is_refused_alone_and_lets_nobody_in() -> None:
    result = compiled(balanced("10.0.0.0/8", "192.0.2.0/240"))
    assert ranges(result) == ["1 10.0.0.0/8"]
    (refusal,) = result.refused
    assert (refusal.service, refusal.field) == ("shop/web", "spec.loadBalancerSourceRanges[1]")
    assert refusal.reason == "'192.0.2.0/240' is no range; the load-balancer addresses are open to the others only"
    assert refusal.remedy == "give it as 192.0.2.0/24 or 2001:db8::/32"


@pytest.mark.parametrize(("text", "families"), [("10/8", {V4, V6}), ("10.0.0.0/99", {V4}), ("fd00::/999", {V6})])
def test_malformed_ranges_close_the_family_that_they_look_like(text: str, families: set[Family]) -> None:
    for family in Family:
        found = SourceRanges.of(balanced(text), family, ())
        assert (found.is_restricted, found.prefixes) == (family in families, ())
        assert bool(list(found.refusals(balanced(text)))) is found.is_restricted


def test_a_node_within_a_range_may_use_the_load_balancer_addresses_as_its_source() -> None:
    near, far = balanced("192.0.2.0/24", "fd00::/64"), balanced("10.0.0.0/8", "fd01::/64")
    assert ranges(compiled(near, addresses=OURS)) == ["1 192.0.2.0/24", "1 203.0.113.9/32"]
    assert ranges(compiled(far, addresses=OURS)) == ["1 10.0.0.0/8"]
    assert ranges(compiled(near, addresses=OURS[1:])) == ["1 192.0.2.0/24"]
    for listed, count in ((near, 2), (far, 1)):
        found = SourceRanges.of(listed, V6, OURS)
        assert len(found.prefixes) == count
        assert (Prefix(VIPS[1], 128) in found.prefixes) is (count == 2)


def test_only_the_primary_address_of_the_node_counts() -> None:
    others = (parse_address("198.51.100.7"), OURS[0])
    assert ranges(compiled(balanced("192.0.2.0/24"), addresses=others)) == ["1 192.0.2.0/24"]


def test_the_primary_address_is_the_one_that_the_configuration_names() -> None:
    state = snapshot(balanced("192.0.2.0/24"), node=Node(HERE, addresses=(parse_address("198.51.100.7"),)))
    told = compile_tables(state, V4, Allocation(), ROOMY, options=Options(node_ips=OURS))
    assert ranges(told) == ["1 192.0.2.0/24", "1 203.0.113.9/32"]
    within = snapshot(balanced("192.0.2.0/24"), node=Node(HERE, addresses=OURS))
    elsewhere = Options(node_ips=(parse_address("198.51.100.7"),))
    assert ranges(compile_tables(within, V4, Allocation(), ROOMY, options=elsewhere)) == ["1 192.0.2.0/24"]


def test_ranges_that_do_not_fit_refuse_the_service() -> None:
    listed = balanced("192.0.2.0/24", "10.0.0.0/8")
    assert compiled(listed, replace(ROOMY, source_ranges=2)).refused == ()
    result = compiled(listed, replace(ROOMY, source_ranges=1))
    assert result.tables.frontends == {}
    (refusal,) = result.refused
    assert (refusal.field, "source_ranges" in refusal.remedy) == ("spec.loadBalancerSourceRanges", True)
