"""The envelopes of the list and watch protocol: pages, events, statuses. Objects stay raw bytes.

Decides where one event ends and the next begins. Knows no kind of object.

    bytes of a response --> Page | Event(type, raw object) --> reflector.py
"""

from collections.abc import Iterator
from typing import TypeVar

import msgspec
import urllib3
from msgspec import Raw, Struct, field

from ebpflb.kube.faults import RequestError

_CHUNK_BYTES = 1 << 16


class ListMetadata(Struct, rename="camel"):
    """``metadata`` of a list."""

    resource_version: str = ""
    continuation: str = field(default="", name="continue")


class Page(Struct):
    """One page of a list."""

    metadata: ListMetadata
    items: list[Raw] | None = None


class Event(Struct):
    """One line of a watch."""

    type: str
    object: Raw


class Status(Struct):
    """The object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""


EnvelopeT = TypeVar("EnvelopeT", Page, Event, Status)


def decode_envelope(raw: bytes | Raw, envelope: type[EnvelopeT]) -> EnvelopeT:
    """Return the envelope. Raises ``RequestError``: what answered may not be an API server at all."""
    try:
        return msgspec.json.decode(raw, type=envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(
            f"the answer is no {envelope.__name__.lower()} of the Kubernetes API: {error}",
            remedy="check that the server in the kubeconfig is an API server, not a proxy's login page",
        ) from error


def read_events(response: urllib3.BaseHTTPResponse) -> Iterator[Event]:
    """Yield events as they arrive, until the stream ends. A line cut off by the end is dropped: it is sent again."""
    rest = b""
    for chunk in response.stream(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield decode_envelope(line, Event)
