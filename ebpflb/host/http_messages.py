"""Requests and responses of HTTP/1.1, as bytes and as values: no more of it than probes and scrapers need.

Decides what is a request. Every method is as good as GET, as it is to kube-proxy's handlers. Must not know sockets, nor
what is answered.

    lines of a request --parse_head--> method, path | RefusedError          Response --render--> bytes
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

HEAD: Final = "HEAD"
"""The one method that is answered without a body."""
_METHOD: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
"""A token, as RFC 9110, 5.6.2 has it."""

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
    """What no handler hears of; the status that it is answered with."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_head(head: bytes) -> tuple[str, str]:
    """Return method and path of a request, from lines that end with a line feed. Raises when it is none."""
    words = head.partition(b"\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not _METHOD.fullmatch(words[0]):  # noqa: PLR2004 - method, target, version
        raise RefusedError(HTTPStatus.BAD_REQUEST)
    method, target, _ = words
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
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body if with_body else b"")
