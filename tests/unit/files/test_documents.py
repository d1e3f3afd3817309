"""How the text of a manifest file becomes documents, and how errors name line and column."""

import json
from typing import Any

import pytest

from ebpflb.files.documents import UnreadableError, read_documents


def contents(text: str, *, is_json: bool = False) -> list[dict[str, Any]]:
    return [dict(document.content) for document in read_documents(text.encode(), is_json=is_json).objects]


def unreadable(raw: bytes, *, is_json: bool = False) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        read_documents(raw, is_json=is_json)
    return caught.value


def test_documents_know_where_they_begin() -> None:
    documents, _ = read_documents(b"# first\nkind: A\n---\n---\n\nkind: B\n---\n", is_json=False)
    assert [(document.content["kind"], document.line) for document in documents] == [("A", 2), ("B", 6)]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n---\n"])
def test_empty_yaml(text: str) -> None:
    assert contents(text) == []


def test_json() -> None:
    assert contents('{"kind": "A"}', is_json=True) == [{"kind": "A"}]
    assert contents(" \n", is_json=True) == []


def test_a_byte_order_mark_is_no_content() -> None:
    assert read_documents(b'\xef\xbb\xbf{"kind": "A"}', is_json=True).objects[0].content == {"kind": "A"}


def test_lists_are_taken_apart() -> None:
    plain = {"kind": "List", "apiVersion": "v1", "items": [{"kind": "Service", "apiVersion": "v1"}]}
    assert contents(json.dumps(plain), is_json=True) == [{"kind": "Service", "apiVersion": "v1"}]


def test_items_of_a_typed_list_get_its_kind_and_version() -> None:
    text = "kind: EndpointSliceList\napiVersion: discovery.k8s.io/v1\nitems: [{metadata: {name: a}}, {kind: Other}]\n"
    assert contents(text) == [
        {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": {"name": "a"}},
        {"kind": "Other", "apiVersion": "discovery.k8s.io/v1"},
    ]


def test_a_list_without_items_is_an_object_like_any_other() -> None:
    assert contents("kind: PlayList") == [{"kind": "PlayList"}]


def test_items_that_are_no_objects_are_refused_by_their_place() -> None:
    text = b"kind: A\n---\nkind: List\nitems: [7, {kind: B}, null, [x], {kind: C}]\n---\nkind: DList\nitems: [text]\n"
    documents, problems = read_documents(text, is_json=False)
    assert [document.content["kind"] for document in documents] == ["A", "B", "C"]
    assert [(each.line, each.problem) for each in problems] == [
        (3, "items[0] of the 'List' is 7, and no object"),
        (3, "items[2] of the 'List' is None, and no object"),
        (3, "items[3] of the 'List' is ['x'], and no object"),
        (6, "items[0] of the 'DList' is 'text', and no object"),
    ]


def test_times_stay_text() -> None:
    assert contents("at: 2024-99-99\nthen: 2024-01-01T00:00:00Z") == [
        {"at": "2024-99-99", "then": "2024-01-01T00:00:00Z"}
    ]


@pytest.mark.parametrize(
    ("raw", "line", "column"),
    [
        (b"a: 1\nb: [1\n", 3, 1),
        (b"a: 1\n\tb: 2\n", 2, 1),
        (b"a: *nowhere\n", 1, 4),
        (b"a: 1\nb: !python/name:os.system 1\n", 2, 4),
        (b"? [a]\n: 1\n", 1, 3),
        (b"kind: A\n---\n- 1\n", 3, 1),
        (b"a: 1\n---\nb: !!int x\n", 3, 1),
        (b"just text", 1, 1),
        (b"a: 1\nb: \xff\n", 2, 1),
        (b"a: 1\nb: \x07\n", 2, 4),
    ],
)
def test_unreadable_yaml_is_located(raw: bytes, line: int, column: int) -> None:
    error = unreadable(raw)
    assert (error.line, error.column) == (line, column)
    assert error.problem
    assert "\n" not in error.problem


@pytest.mark.parametrize(
    ("raw", "line", "column"),
    [(b'{"a": 1,\n  "b" 2}', 2, 7), (b"[1]", 1, 1), (b"[" * 100_000, 1, 1), (b"{} {}", 1, 4), (b"1" * 5000, 1, 1)],
)
def test_unreadable_json_is_located(raw: bytes, line: int, column: int) -> None:
    error = unreadable(raw, is_json=True)
    assert (error.line, error.column) == (line, column)
