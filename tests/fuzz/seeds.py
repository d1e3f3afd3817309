"""Valid frames to begin with: every conversation of a world as packets of several kinds.

Conversation --frames--> Seed(hook, device, frame)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ebpflb.core.abi import Family, Protocol
from tests.fuzz import segments
from tests.fuzz.builder import Conversation
from tests.fuzz.packet import ECHO, ICMP, OUTER, parse_plain
from tests.fuzz.rows import Hook, reverse
from tests.fuzz.worlds import KNOWN_DATAGRAM, RELEASING_DATAGRAM, WAITING_DATAGRAM
from tests.prog.world import Device

_PAYLOADS = (b"ebpflb, a packet's inside.", bytes(range(151)), bytes(1240))
"""The last one is too big for the narrow device, headers included."""
_TCP_FLAGS = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14)
_MSS = bytes.fromhex("020405b401030307")
_CHUNKS = (1, 0, 6, 14)
_ERRORS = {Family.IPV4: (b"\3\3", b"\3\4", b"\x0b\0", b"\x0c\0"), Family.IPV6: (b"\1\4", b"\2\0", b"\3\0", b"\4\0")}
_NUMBERS = (b"\x12\x34", KNOWN_DATAGRAM[:2], WAITING_DATAGRAM[:2], RELEASING_DATAGRAM[:2])
_UNUSUAL_SHARE = 8
_OTHERS_SHARE = 64
_ANOTHER_MAC, _GROUP_MAC = bytes.fromhex("020000000003"), bytes.fromhex("03bf0a600010")
_MORE, _LATER, _LAST = 0x2000, 0x2010, 0x0020


@dataclass(frozen=True, slots=True)
class Seed:
    """A frame and where it shows up."""

    hook: Hook
    device: Device
    is_own: bool
    frame: bytes


def _transports(conversation: Conversation) -> Iterator[bytes]:
    ends = conversation.ends
    if conversation.protocol is Protocol.TCP:
        yield from (segments.tcp(ends, flags, b"", _MSS if flags & 2 else b"") for flags in _TCP_FLAGS)
        yield from (segments.tcp(ends, 0x18, payload) for payload in _PAYLOADS)
    elif conversation.protocol is Protocol.UDP:
        yield from (segments.udp(ends, payload) for payload in (b"", *_PAYLOADS))
    else:
        yield from (segments.sctp(ends, chunk, _PAYLOADS[0]) for chunk in _CHUNKS)


def _errors(family: Family, conversation: Conversation, transports: list[bytes]) -> Iterator[bytes]:
    """Return errors that come the way the conversation's packets come: what they quote went the other way."""
    back, size = reverse(conversation.ends), 2 * family.address_bytes
    for number, start in enumerate(_ERRORS[family]):
        segment = transports[number % len(transports)]
        turned = segment[2:4] + segment[:2] + segment[4:]
        quoted = segments.network(family, conversation.protocol, back, turned)
        quote = quoted[: (20 if family is Family.IPV4 else 40) + (8, 8, 24, 400)[number]]
        message = segments.icmp(family, conversation.ends[:size], start, bytes(4) + quote)
        yield segments.network(family, ICMP[family], conversation.ends, message)


def _ping(family: Family, conversation: Conversation) -> bytes:
    start = bytes((ECHO[family], 0))
    message = segments.icmp(family, conversation.ends[: 2 * family.address_bytes], start, b"\1\2\0\3" + _PAYLOADS[0])
    return segments.network(family, ICMP[family], conversation.ends, message)


def _fragments(family: Family, conversation: Conversation, transports: list[bytes]) -> Iterator[bytes]:
    """Return two fragments of one of the datagrams; which one differs by the conversation."""
    number = _NUMBERS[conversation.ends[-3] % len(_NUMBERS)]
    first, later = transports[0] + bytes(16), bytes(range(64))
    arguments = family, int(conversation.protocol), conversation.ends
    yield segments.network(*arguments, first, fragment=_MORE, number=number)
    yield segments.network(*arguments, later, fragment=_LATER, number=number)
    yield segments.network(*arguments, later, fragment=_LAST, number=_NUMBERS[0])


def packets_of(family: Family, conversation: Conversation) -> Iterator[bytes]:
    """Return the packets of a conversation."""
    transports = list(_transports(conversation))
    plain = [
        *(segments.network(family, conversation.protocol, conversation.ends, segment) for segment in transports),
        *_errors(family, conversation, transports),
        *_fragments(family, conversation, transports),
        _ping(family, conversation),
    ]
    if not conversation.outer:
        return iter(plain)
    return (segments.network(family, OUTER[family], conversation.outer, packet) for packet in plain)


def seeds_of(family: Family, conversations: Iterable[Conversation]) -> list[Seed]:
    """Return the seeds of all conversations."""
    seeds = [
        Seed(item.hook, item.device, item.is_own, segments.frame(family, packet))
        for item in conversations
        for packet in packets_of(family, item)
    ]
    return seeds + list(_xdp_seeds(family, seeds)) + list(_seeds_to_others(seeds))


def _seeds_to_others(seeds: Iterable[Seed]) -> Iterator[Seed]:
    """Return what a promiscuous device shows, and what is for everybody: a few of all frames."""
    for number, seed in enumerate(seeds):
        if number % _OTHERS_SHARE == 0:
            for mac in (_ANOTHER_MAC, _GROUP_MAC):
                yield replace(seed, frame=mac + seed.frame[len(mac) :])


def _xdp_seeds(family: Family, seeds: Iterable[Seed]) -> Iterator[Seed]:
    """Return what XDP translates, and of all that it leaves to tc a few."""
    for number, seed in enumerate(seeds):
        is_plain = parse_plain(seed.frame, family) is not None
        if seed.hook is Hook.UPLINK_IN and (is_plain or number % _UNUSUAL_SHARE == 0):
            yield replace(seed, hook=Hook.XDP_IN)
