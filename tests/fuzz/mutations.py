"""Makes bad packets of good ones, as an attacker, a broken router or a driver's bug would.

    (frame, random numbers) --Mutator.mutate--> frame

Never touches the ethertype: tc hands a program its own family's frames only. Knows no rule of the translation.
"""

from collections.abc import Callable, Sequence
from random import Random

from ebpflb.core.abi import Family
from tests.fuzz.rows import World

_L2 = 14
_HEADERS = 96
"""Bytes from the network header on that are looked at closely."""
_SADDR = {Family.IPV4: 26, Family.IPV6: 22}
_TTL = {Family.IPV4: 22, Family.IPV6: 21}
_PROTOCOL = {Family.IPV4: 23, Family.IPV6: 20}
_LENGTH = {Family.IPV4: 16, Family.IPV6: 18}
_FRAGMENT = 20
_L3 = {Family.IPV4: 20, Family.IPV6: 40}
_WORDS = (b"\0\0", b"\0\1", b"\0\7", b"\0\x08", b"\0\x14", b"\0\x1c", b"\x05\xdc", b"\x7f\xff", b"\x80\0", b"\xff\xff")
_PROTOCOLS = bytes((0, 1, 4, 6, 6, 17, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 132, 255))
_EXTENSIONS = bytes((0, 43, 44, 51, 60))

_MUTATIONS = (0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4)
"""How many there are at a time."""

Mutation = Callable[[bytearray], None]


class Mutator:
    """A source of frames. The same seed gives the same frames."""

    def __init__(self, world: World, random: Random) -> None:
        self._random, self._bits = random, random.getrandbits
        self._family = family = world.family
        self._at_addresses, self._size = _SADDR[family], family.address_bytes
        self._l4 = _L2 + _L3[family]
        self._addresses = _interesting_addresses(world)
        self._ports = _interesting_ports(world)
        self._ends = [key[:-1] for key in world.flows]
        common: list[Mutation] = [
            *([self._flip_bit] * 4),
            *([self._set_byte] * 2),
            self._cut,
            self._append,
            self._lie_about_length,
            *([self._set_address] * 2),
            *([self._set_port] * 3),
            self._take_ends,
            self._swap,
            self._set_flags,
            self._set_word,
            self._set_ttl,
            self._set_protocol,
            self._break_checksum,
        ]
        own: list[Mutation] = [self._set_ihl, self._fragment] if family is Family.IPV4 else [self._insert_extension]
        self._mutations: Sequence[Mutation] = tuple(common + own)

    def mutate(self, frame: bytes) -> bytes:
        """Return a changed frame: one to four mutations, rarely none."""
        changed = bytearray(frame)
        mutations, number = self._mutations, self._bits(68)
        for _ in range(_MUTATIONS[number & 15]):
            number >>= 4
            mutations[(number & 0xFFFF) % len(mutations)](changed)
            number >>= 12
        return bytes(changed)

    def _position(self, frame: bytearray) -> int:
        """Return a place behind the ethertype, likely in a header; -1 when there is none."""
        length = len(frame) - _L2
        if length <= 0:
            return -1
        return _L2 + self._bits(16) % min(length, _HEADERS if self._bits(3) else length)

    def _flip_bit(self, frame: bytearray) -> None:
        at = self._position(frame)
        if at >= 0:
            frame[at] ^= 1 << self._bits(3)

    def _set_byte(self, frame: bytearray) -> None:
        at = self._position(frame)
        if at >= 0:
            frame[at] = self._bits(8)

    def _set_word(self, frame: bytearray) -> None:
        at = self._position(frame) & ~1
        if 0 <= at <= len(frame) - 2:
            frame[at : at + 2] = _WORDS[self._bits(8) % len(_WORDS)]

    def _cut(self, frame: bytearray) -> None:
        """Leaves a whole network header: the kernel runs no tc program on less."""
        del frame[self._l4 + self._bits(16) % max(1, len(frame) - self._l4 + 1) :]

    def _append(self, frame: bytearray) -> None:
        frame += self._random.randbytes(self._bits(6))

    def _lie_about_length(self, frame: bytearray) -> None:
        at = _LENGTH[self._family]
        if self._bits(2) == 0:
            at = self._l4 + 4  # of UDP
        if len(frame) < at + 2:
            return
        told = int.from_bytes(frame[at : at + 2], "big") + self._bits(5) - 16
        frame[at : at + 2] = (
            (told & 0xFFFF).to_bytes(2, "big") if self._bits(1) else _WORDS[self._bits(8) % len(_WORDS)]
        )

    def _set_address(self, frame: bytearray) -> None:
        at = self._at_addresses + (self._size if self._bits(1) else 0)
        if len(frame) >= at + self._size:
            frame[at : at + self._size] = self._addresses[self._bits(16) % len(self._addresses)]

    def _set_port(self, frame: bytearray) -> None:
        at = self._l4 + (2 if self._bits(1) else 0)
        if len(frame) >= at + 2:
            frame[at : at + 2] = self._ports[self._bits(16) % len(self._ports)]

    def _take_ends(self, frame: bytearray) -> None:
        ends, size = self._ends[self._bits(16) % len(self._ends)], 2 * self._size
        if len(frame) >= self._l4 + 4:
            frame[self._at_addresses : self._at_addresses + size] = ends[:size]
            frame[self._l4 : self._l4 + 4] = ends[size:]

    def _swap(self, frame: bytearray) -> None:
        at, size = self._at_addresses, self._size
        if len(frame) >= self._l4 + 4:
            frame[at : at + 2 * size] = frame[at + size : at + 2 * size] + frame[at : at + size]
            at = self._l4
            frame[at : at + 4] = frame[at + 2 : at + 4] + frame[at : at + 2]

    def _set_flags(self, frame: bytearray) -> None:
        at = self._l4 + 13
        if len(frame) > at:
            frame[at] = self._bits(6) if self._bits(1) else self._bits(8)

    def _set_ttl(self, frame: bytearray) -> None:
        at = _TTL[self._family]
        if len(frame) > at:
            frame[at] = self._bits(2)

    def _set_protocol(self, frame: bytearray) -> None:
        at = _PROTOCOL[self._family]
        if len(frame) > at:
            frame[at] = _PROTOCOLS[self._bits(8) % len(_PROTOCOLS)]

    def _break_checksum(self, frame: bytearray) -> None:
        """TCP's, UDP's, or IPv4's: zero, all ones, or any."""
        at = (self._l4 + 16, self._l4 + 6, _L2 + 10, self._l4 + 2)[self._bits(2)]
        if len(frame) >= at + 2:
            choice = self._bits(2)
            frame[at : at + 2] = (b"\0\0", b"\xff\xff")[choice] if choice < 2 else self._bits(16).to_bytes(2, "big")

    def _set_ihl(self, frame: bytearray) -> None:
        """Lies about IPv4's header length, or makes it true by options."""
        if len(frame) < self._l4:
            return
        words = self._bits(4)
        frame[_L2] = 0x40 | words
        if self._bits(1) and words > 5:
            frame[self._l4 : self._l4] = b"\1" * (4 * words - 20)

    def _fragment(self, frame: bytearray) -> None:
        if len(frame) >= _FRAGMENT + 2:
            offset = self._bits(1) * self._bits(13)
            frame[_FRAGMENT : _FRAGMENT + 2] = (self._bits(3) << 13 | offset).to_bytes(2, "big")

    def _insert_extension(self, frame: bytearray) -> None:
        """Puts an extension header behind IPv6's, whose length may be a lie."""
        at = _PROTOCOL[Family.IPV6]
        if len(frame) < self._l4:
            return
        kind = _EXTENSIONS[self._bits(8) % len(_EXTENSIONS)]
        length = self._bits(1)
        body = bytes((frame[at], length if kind != 44 else 0)) + bytes(6 + 8 * length)
        if kind == 44:
            body = (
                bytes((frame[at], 0)) + (self._bits(1) * self._bits(16)).to_bytes(2, "big") + self._random.randbytes(4)
            )
        frame[at] = kind
        frame[self._l4 : self._l4] = body


def _interesting_addresses(world: World) -> list[bytes]:
    found = {address for address, _port, _protocol in world.frontends}
    found |= {backend.address for backend in world.backends.values()} | world.node_addrs.keys() | world.routes.keys()
    found |= {world.hairpin_address, bytes(world.family.address_bytes), b"\xff" * world.family.address_bytes}
    return sorted(found)


def _interesting_ports(world: World) -> list[bytes]:
    found = {port.to_bytes(2, "big") for _address, port, _protocol in world.frontends}
    found |= {end for key in world.flows for end in (key[-5:-3], key[-3:-1])}
    found |= {backend.port.to_bytes(2, "big") for backend in world.backends.values()} | {b"\0\0", b"\xff\xff"}
    return sorted(found)
