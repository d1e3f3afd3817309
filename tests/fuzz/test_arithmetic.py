"""The reference's own arithmetic against published values and against computing anew. Needs no root."""

from random import Random

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ebpflb.core.abi import Family
from tests.fuzz import checksums, sctp
from tests.fuzz.packet import parse, parse_plain
from tests.fuzz.rows import reverse
from tests.fuzz.seeds import seeds_of
from tests.fuzz.worlds import world_of
from tests.prog.world import Device


def test_the_crc32c_is_the_published_one() -> None:
    assert sctp.crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("length", [4, 12, 13, 255, 1500])
def test_a_crc32c_is_updated_as_if_computed_anew(length: int) -> None:
    random = Random(length)
    before, after, rest = random.randbytes(4), random.randbytes(4), random.randbytes(length - 4)
    old, new = (sctp.crc32c(ports + rest).to_bytes(4, "little") for ports in (before, after))
    assert sctp.updated(old, before, after, length) == new


def test_a_checksum_is_the_example_of_rfc_1071() -> None:
    assert checksums.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_a_checksum_is_updated_as_if_computed_anew() -> None:
    random = Random(1)
    for _ in range(1000):
        head, before, after = (random.randbytes(8) for _ in range(3))
        assert checksums.updated(checksums.checksum(head, before), before, after) == checksums.checksum(head, after)


def test_a_wrong_checksum_stays_as_wrong() -> None:
    before, after = b"\x12\x34", b"\xab\xcd"
    right = checksums.checksum(b"head", before)
    assert checksums.updated(right ^ 0x0101, before, after) != checksums.checksum(b"head", after)


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
def test_seeds_are_what_another_library_would_build(family: Family) -> None:
    """Lengths and checksums of TCP and UDP: scapy computes them again."""
    _world, conversations = world_of(family, dict.fromkeys(Device, bytes(6)))
    plain = [seed.frame for seed in seeds_of(family, conversations) if parse_plain(seed.frame, family)]
    for frame in Random(2).sample(plain, 200):
        again = Ether(frame)
        network = again[IP if family is Family.IPV4 else IPv6]
        for name in ("chksum", "len") if family is Family.IPV4 else ("plen",):
            network.delfieldval(name)
        network.payload.delfieldval("chksum")
        assert bytes(again) == frame


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
def test_every_seed_is_read_and_reversing_twice_changes_nothing(family: Family) -> None:
    _world, conversations = world_of(family, dict.fromkeys(Device, bytes(6)))
    packets = [parse(seed.frame, family) for seed in seeds_of(family, conversations)]
    assert None not in packets
    assert all(reverse(reverse(packet.ends)) == packet.ends for packet in packets if packet)
