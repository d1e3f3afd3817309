"""Requests and responses of HTTP/1.1, as bytes and as values: no more of it than probes and scrapers need.

Decides what is a request, and which methods there are. Must not know sockets, nor what is answered.

    head of a request --parse_head--> method, path | RefusedError          Response --render--> bytes
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

END_OF_HEAD: Final = b"\r\n\r\n"
METHODS: Final = ("GET", "HEAD")

PLAIN: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler is told."""

    path: str
    """Without query."""
    local_address: str
    """The address that the client dialled; of a listener on all addresses, too."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler answers."""

    body: str | bytes = b""
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = PLAIN
    headers: tuple[tuple[str, str], ...] = ()


NOT_FOUND: Final = Response("404 page not found\n", HTTPStatus.NOT_FOUND)


class RefusedError(Exception):
    """A request that no handler hears of; the status that it is answered with."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_head(head: bytes) -> tuple[str, str]:
    """Return method and path of a request. Raises when it is none, or asks for something that is not done here."""
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        raise RefusedError(HTTPStatus.BAD_REQUEST)
    method, target, _ = words
    if method not in METHODS:
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED if method.isalpha() else HTTPStatus.BAD_REQUEST)
    try:
        return method, unquote(urlsplit(target).path) or "/"
    except ValueError:
        raise RefusedError(HTTPStatus.BAD_REQUEST) from None


def render(response: Response, *, with_body: bool) -> bytes:
    """Return a response as it goes over the wire."""
    body = response.body.encode() if isinstance(response.body, str) else response.body
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        f"Content-Type: {response.content_type}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("latin-1") + END_OF_HEAD + (body if with_body else b"")
