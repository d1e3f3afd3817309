import json
from typing import Any

import pytest

from ebpflb.cli.explain_flows import Query, parse_line, parse_target
from ebpflb.core.abi import Family, Protocol
from ebpflb.core.decode import FieldError
from ebpflb.core.model import parse_address

GOOD = {"from": "10.0.0.2", "to": "10.96.0.10", "port": 53, "proto": "UDP"}
QUERY = Query(parse_address("10.0.0.2"), parse_address("10.96.0.10"), 53, Protocol.UDP)


def line(**changes: Any) -> bytes:
    fields = {**GOOD, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("changes", "query"),
    [
        ({}, QUERY),
        ({"proto": "udp"}, QUERY),
        ({"from": "010.00.0.2", "to": "::ffff:10.96.0.10"}, QUERY),
        ({"comment": [1]}, QUERY),
        ({"proto": ...}, Query(QUERY.source, QUERY.destination, 53, Protocol.TCP)),
        ({"device": "eth0"}, Query(QUERY.source, QUERY.destination, 53, Protocol.UDP, "eth0")),
    ],
)
def test_a_line(changes: dict[str, Any], query: Query) -> None:
    assert parse_line(line(**changes)) == query


def test_a_line_without_a_device_takes_the_one_for_all() -> None:
    assert parse_line(line(), "cni0").device == "cni0"
    assert parse_line(line(device="eth0"), "cni0").device == "eth0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line(port=99999), "port: 99999 is not a port"),
        (line(port=0), "port: 0 is not a port"),
        (line(port="53"), "port: expected int, got str"),
        (line(port=True), "port: expected int, got bool"),
        (line(port=1 << 70), "port: "),
        (line(port=...), "flow: object missing required field port"),
        (line(to=...), "flow: object missing required field to"),
        (line(to=None), "to: expected str, got null"),
        (line(to="web.default.svc"), "to: 'web.default.svc' is not an IP address"),
        (line(to="10.96.0.10/32"), "to: '10.96.0.10/32' is not an IP address"),
        (line(to="fe80::1%eth0"), "to: 'fe80::1%eth0' is not an IP address"),
        (line(**{"from": ""}), "from: '' is not an IP address"),
        (line(**{"from": "fd00::2"}), "from: is IPv6, and to is IPv4"),
        (line(proto="ICMP"), "proto: 'ICMP' is not known"),
        (line(proto=17), "proto: expected str, got int"),
        (b"53", "flow: expected object, got int"),
        (b"[]", "flow: expected object, got array"),
        (b"null", "flow: expected object, got null"),
        (b"{", "flow: is not JSON: "),
        (b"\xff", "flow: is not JSON: "),
        (b'{"from": "\xff"}', "flow: is not JSON: "),
        (b"[" * 100_000, "flow: "),
    ],
)
def test_what_is_no_flow(text: bytes, words: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_line(text)
    assert str(caught.value).startswith(words)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("target", "destination", "port", "protocol"),
    [
        ("10.96.0.10:53/udp", "10.96.0.10", 53, Protocol.UDP),
        ("10.96.0.10:53", "10.96.0.10", 53, Protocol.TCP),
        (" 10.96.0.10:53/SCTP ", "10.96.0.10", 53, Protocol.SCTP),
    ],
)
def test_a_target(target: str, destination: str, port: int, protocol: Protocol) -> None:
    assert parse_target("10.0.0.2", target) == Query(QUERY.source, parse_address(destination), port, protocol)


def test_an_ipv6_target() -> None:
    query = parse_target("fd00::2", "[fd00::10]:53/udp", "eth0")
    assert query == Query(parse_address("fd00::2"), parse_address("fd00::10"), 53, Protocol.UDP, "eth0")
    assert query.family is Family.IPV6


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("10.96.0.10", "to: '10.96.0.10' is not an address with a port"),
        ("fd00::10:53", "to: 'fd00::10:53' is not an address with a port"),
        ("10.96.0.10:http", "to: '10.96.0.10:http' is not an address with a port"),
        ("", "to: '' is not an address with a port"),
        ("web:80", "to: 'web' is not an IP address"),
        ("10.96.0.10:0/udp", "port: 0 is not a port"),
        ("10.96.0.10:80/icmp", "proto: 'ICMP' is not known"),
        ("[10.96.0.10]:80/tcp/", "to: "),
    ],
)
def test_what_is_no_target(target: str, words: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_target("10.0.0.2", target)
    assert str(caught.value).startswith(words)
