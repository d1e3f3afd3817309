from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflb.core.abi import Family
from ebpflb.core.decode import FieldError
from ebpflb.core.fields import routable_address
from ebpflb.core.model import Node, family_of, format_address, format_endpoint, parse_address
from tests.unit.core.factories import endpoint_slice, service


@pytest.mark.parametrize(
    ("text", "packed", "canonical"),
    [
        ("10.0.0.1", b"\x0a\0\0\x01", "10.0.0.1"),
        (" 10.0.0.1 ", b"\x0a\0\0\x01", "10.0.0.1"),
        ("010.000.00.1", b"\x0a\0\0\x01", "10.0.0.1"),
        ("fd00:0::1", b"\xfd" + bytes(14) + b"\x01", "fd00::1"),
    ],
)
def test_addresses_are_read_as_kubernetes_reads_them(text: str, packed: bytes, canonical: str) -> None:
    assert parse_address(text) == packed
    assert format_address(packed) == canonical


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.x", "10.0.0.²", "fd00::1::2", "host"])
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".+|^$"):
        parse_address(text)


@given(st.ip_addresses())
def test_whatever_is_written_is_read(address: IPv4Address) -> None:
    assert parse_address(str(address)) == address.packed


SPECIAL = ("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "::/127", "fe80::/10")


@pytest.mark.parametrize("prefix", [*SPECIAL, "ff00::/8"])
def test_what_machines_cannot_send_to_is_told_to_the_last_address(prefix: str) -> None:
    network = ip_network(prefix)
    for address in (network[0], network[-1]):
        with pytest.raises(FieldError, match="address"):
            routable_address("here", str(address))


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.1", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255"),
        *("255.255.255.254", "::2", "fe7f:ffff::1", "fec0::", "feff::", "100::1"),
    ],
)
def test_their_neighbours_are_like_any_other(text: str) -> None:
    assert format_address(routable_address("here", text)) == text


def test_endpoints_are_written_the_usual_way() -> None:
    assert format_endpoint(parse_address("10.0.0.1"), 80) == "10.0.0.1:80"
    assert format_endpoint(parse_address("fd00::1"), 80) == "[fd00::1]:80"


def test_the_length_of_an_address_tells_its_family() -> None:
    assert family_of(bytes(4)) is Family.IPV4
    assert family_of(bytes(16)) is Family.IPV6


def test_objects_know_their_keys() -> None:
    assert service("web").key == ("shop", "web")
    assert endpoint_slice(name="web-7").key == ("shop", "web-7")
    assert Node("n1").key == ("", "n1")
