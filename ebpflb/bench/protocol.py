r"""Decides what the lab's servers and clients say to each other; opens no socket.

TCP, one command a line, as many as the client likes:
    who\n          -> Answer as one JSON line
    GET ... HTTP   -> the same JSON as the body of an HTTP/1.1 response, kept alive
    sink N\n       -> the client sends N bytes; the server answers one JSON line: Received
    source N\n     -> the server sends N bytes of the pattern, then one JSON line: Received, of what it sent
UDP: any datagram  -> Answer as one JSON line, then the datagram itself
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ebpflb.bench.addresses import join_port

LINE_LIMIT = 4096
CHUNK = 65_536

# A prime length, so that no offset of the repeated pattern lines up with segment, page or GSO sizes: a lost, doubled
# or swapped segment always changes the checksum.
PATTERN = random.Random(0).randbytes(1_048_573)  # noqa: S311 - repeatable test data, no secret


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered, and whom it saw."""

    name: str
    """The server's."""
    client: str
    """address:port of the client as the server sees it."""
    server: str
    """address:port that the client's packet arrived at; of UDP the port alone is known."""


@dataclass(frozen=True, slots=True)
class Received:
    """A bulk transfer as one side saw it."""

    length: int
    checksum: str


def encode_line(message: Answer | Received) -> bytes:
    """Return the message as one JSON line."""
    return json.dumps(asdict(message)).encode() + b"\n"


def decode_answer(line: bytes) -> Answer:
    """Read an ``Answer`` back; ``ValueError`` if it is none."""
    fields = json.loads(line)
    return Answer(str(fields["name"]), str(fields["client"]), str(fields["server"]))


def decode_received(line: bytes) -> Received:
    """Read a ``Received`` back."""
    fields = json.loads(line)
    return Received(int(fields["length"]), str(fields["checksum"]))


def http_response(body: bytes) -> bytes:
    """Return a response that keeps the connection."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def format_peer(address: tuple[str, int]) -> str:
    """Return ``address:port`` of a socket's address."""
    return join_port(*address[:2])


def pattern_chunks(length: int) -> Iterator[memoryview]:
    """Yield the first ``length`` bytes of the endless repetition of the pattern, in chunks."""
    view = memoryview(PATTERN)
    sent = 0
    while sent < length:
        offset = sent % len(PATTERN)
        chunk = view[offset : offset + min(CHUNK, length - sent)]
        yield chunk
        sent += len(chunk)


class Checksum:
    """Sums a stream up."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.length = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self.length += len(data)

    def received(self) -> Received:
        """Return the sum so far."""
        return Received(self.length, self._digest.hexdigest())


def expected(length: int) -> Received:
    """Return what an intact transfer of ``length`` bytes gives."""
    checksum = Checksum()
    for chunk in pattern_chunks(length):
        checksum.add(chunk)
    return checksum.received()
