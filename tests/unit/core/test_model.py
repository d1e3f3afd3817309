import pytest

from ebpflb.core.abi import Family
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
