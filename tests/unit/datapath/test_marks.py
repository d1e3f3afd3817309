import sys
from ipaddress import ip_address
from types import SimpleNamespace
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest

from ebpflb.core.abi import MARK_BITS, MARK_FACTOR, Family
from ebpflb.core.tables import TableName
from ebpflb.datapath import changes, marks
from ebpflb.datapath.layout import address_dtype
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.marks import Marks, mark_numbers


def number_of(address: bytes) -> int:
    """The rule of bpf/lb/marks.h, in 32 bits."""
    number = 0
    for start in range(0, len(address), 4):
        number = (number + int.from_bytes(address[start : start + 4], sys.byteorder)) * MARK_FACTOR & 0xFFFFFFFF
    return number >> (32 - MARK_BITS)


@pytest.mark.parametrize(
    ("family", "texts"),
    [
        (Family.IPV4, ["0.0.0.0", "10.96.0.1", "10.96.0.2", "255.255.255.255"]),
        (Family.IPV6, ["::", "fd00:96::1", "fd00:96:0:1::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
    ],
)
def test_the_rule_is_that_of_the_programs(family: Family, texts: list[str]) -> None:
    packed = [ip_address(text).packed for text in texts]
    rows = np.frombuffer(b"".join(packed), address_dtype(family))
    numbers = mark_numbers(rows, family).tolist()
    assert numbers == [number_of(address) for address in packed]
    assert len(set(numbers)) == len(texts)


def test_addresses_of_a_network_hardly_share_bits() -> None:
    rows = np.arange(0x0A60_0000, 0x0A60_0000 + 10_000, dtype=">u4").view(address_dtype(Family.IPV4))
    assert len(set(mark_numbers(rows, Family.IPV4).tolist())) > 9_900


def test_who_finds_everything_marked_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also readers mark what they read, and what another process has set meanwhile would be lost by theirs."""
    words = np.zeros(1 << MARK_BITS >> 6, np.uint64)
    writing = Mock(wraps=np.bitwise_or.at)
    for module in (changes, marks):
        monkeypatch.setattr(module, "mapped", lambda _source, _dtype: words)
    monkeypatch.setattr(marks, "np", SimpleNamespace(**{**vars(np), "bitwise_or": SimpleNamespace(at=writing)}))
    a_map = create_autospec(BpfMap)
    marked = Marks(a_map, a_map, Family.IPV4)
    rows = np.arange(0x0A60_0000, 0x0A60_0000 + 100, dtype=">u4").view(address_dtype(Family.IPV4))
    for _ in range(2):
        marked.mark(TableName.NODE_ADDRS, rows, rows)
    assert sum(int(word).bit_count() for word in words) == len(set(mark_numbers(rows, Family.IPV4).tolist()))
    assert writing.call_count == 1
