"""The envelopes of list and watch, cut at every byte."""

import io
import json
from collections.abc import Generator
from typing import Any

import pytest
import urllib3

from ebpflb.kube.faults import RequestError
from ebpflb.kube.wire import Page, Status, decode_envelope, read_events


class Pieces(urllib3.HTTPResponse):
    """A response that arrives in the given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(body=io.BytesIO(), preload_content=False)
        self._pieces = pieces

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        yield from self._pieces


LINES = b'{"type":"ADDED","object":{"a":1}}\n\n{"type":"BOOKMARK","object":{}}\n'


def events(*pieces: bytes) -> list[tuple[str, Any]]:
    return [(event.type, json.loads(bytes(event.object))) for event in read_events(Pieces(*pieces))]


def test_events_survive_every_cut() -> None:
    for cut in range(len(LINES) + 1):
        assert events(LINES[:cut], LINES[cut:]) == [("ADDED", {"a": 1}), ("BOOKMARK", {})]


def test_a_line_without_an_end_is_not_an_event() -> None:
    assert events(LINES[:-1]) == [("ADDED", {"a": 1})]


@pytest.mark.parametrize("line", [b"<html>\n", b"{}\n", b"\xff\n", b'{"type":7,"object":{}}\n'])
def test_what_is_no_event_is_a_fault(line: bytes) -> None:
    with pytest.raises(RequestError, match=r"no event of the Kubernetes API.*not a proxy's login page"):
        events(line)


def test_pages() -> None:
    page = decode_envelope(b'{"metadata":{"resourceVersion":"7","continue":"x"},"items":[{"a":1}]}', Page)
    assert (page.metadata.resource_version, page.metadata.continuation) == ("7", "x")
    assert [bytes(item) for item in page.items or ()] == [b'{"a":1}']
    assert decode_envelope(b'{"metadata":{},"items":null}', Page).items is None
    with pytest.raises(RequestError):
        decode_envelope(b"[]", Page)


def test_statuses() -> None:
    assert decode_envelope(b'{"code":410,"message":"gone"}', Status) == Status(410, "", "gone")
