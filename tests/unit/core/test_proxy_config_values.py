from ipaddress import ip_network

import pytest

from ebpflb.core.model import parse_address
from ebpflb.core.proxy_config_values import HostPort, parse_host_port, parse_ip, parse_prefix, with_port


@pytest.mark.parametrize("text", ["10.0.0.1", "010.000.0.1", "::1", "fd00::1", "0.0.0.0", "::ffff:10.0.0.1"])
def test_addresses(text: str) -> None:
    assert parse_ip(text) == parse_address(text)


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", " 10.0.0.1", "fe80::1%eth0", "host", "[::1]", "1" * 999])
def test_no_addresses(text: str) -> None:
    assert parse_ip(text) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("010.1.2.3/08", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("fd00:1::1/64", "fd00:1::/64"),
        ("::/0", "::/0"),
    ],
)
def test_prefixes(text: str, network: str) -> None:
    assert parse_prefix(text) == ip_network(network)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "10.0.0.0/255.0.0.0", "/8", "x/8", "10.0.0.0/-1"]
)
def test_no_prefixes(text: str) -> None:
    assert parse_prefix(text) is None


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [("0.0.0.0:10256", "0.0.0.0", 10256), ("[::]:10256", "::", 10256), ("127.0.0.1:0", "127.0.0.1", 0)],
)
def test_places_to_listen(text: str, address: str, port: int) -> None:
    found = parse_host_port(text)
    assert found == HostPort(parse_address(address), port)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":10256", "0.0.0.0", "0.0.0.0:", "0.0.0.0:65536", "0.0.0.0:-1", "0.0.0.0:http", "::1:80", "[::1]"),
        *("localhost:10256", "[127.0.0.1]:80", "0.0.0.0:000080", "0.0.0.0:\u0661"),
    ],
)
def test_no_places_to_listen(text: str) -> None:
    assert parse_host_port(text) is None


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("10.0.0.1", "10.0.0.1:7"),
        ("::1", "[::1]:7"),
        ("[::1]", "[::1]:7"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_port_is_filled_in(text: str, filled: str) -> None:
    assert with_port(text, 7) == filled
