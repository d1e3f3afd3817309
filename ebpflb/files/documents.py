"""Reads the text of one manifest file into documents, or says at which line and column it cannot be read.

Decides what is one document: YAML's ``---``, and the items of a List. Knows no kind of object and no folder.

    bytes --> Documents(objects, problems) or UnreadableError(line, column, problem)
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from ebpflb.core.fields import shown

JSON_SUFFIX = ".json"

if TYPE_CHECKING:
    from yaml import SafeLoader as _Base
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """Times stay text, as in Kubernetes' own reader; PyYAML would stumble over a date that does not exist."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's name and shape
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }


class UnreadableError(Exception):
    """The text is no YAML or JSON, or holds something that is no object."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(f"{line}:{column}: {problem}")
        self.line = line
        self.column = column
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file."""

    content: Mapping[str, Any]
    line: int
    """Where its document begins, from 1."""


class Documents(NamedTuple):
    """What a file holds."""

    objects: list[Document]
    problems: list[UnreadableError]
    """Items of Lists that are no objects: each is refused alone."""


def read_documents(raw: bytes, *, is_json: bool) -> Documents:
    """Return every object of a file, those of Lists one by one. Raises ``UnreadableError`` for the file as a whole."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableError(line, 1, "is not UTF-8 text") from None
    plain = _read_json(text) if is_json else _read_yaml(text)
    found = [each for content, line in plain for each in _objects(content, line)]
    return Documents(
        [each for each in found if isinstance(each, Document)],
        [each for each in found if isinstance(each, UnreadableError)],
    )


def _read_json(text: str) -> Iterator[tuple[Any, int]]:
    if not text.strip():
        return
    try:
        yield json.loads(text), 1
    except json.JSONDecodeError as error:
        raise UnreadableError(error.lineno, error.colno, error.msg) from None
    except (ValueError, RecursionError) as error:
        raise UnreadableError(1, 1, _one_line(error)) from None


def _read_yaml(text: str) -> Iterator[tuple[Any, int]]:
    line = 1
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise UnreadableError(*_position(text, error.position), error.reason) from None
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "check_node() has just found one"
            line = node.start_mark.line + 1
            yield loader.construct_document(node), line
    except yaml.reader.ReaderError as error:
        raise UnreadableError(*_position(text, error.position), error.reason) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (line, 1)
        raise UnreadableError(*at, error.problem or error.context or "is not YAML") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UnreadableError(line, 1, _one_line(error)) from None
    finally:
        loader.dispose()


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _objects(content: Any, line: int) -> Iterator[Document | UnreadableError]:
    """Yield the objects in one document: none if it is empty, the items if it is a List of any kind."""
    if content is None:
        return
    if not isinstance(content, Mapping):
        raise UnreadableError(line, 1, "is not an object with apiVersion and kind")
    kind, items = content.get("kind"), content.get("items")
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(items, list):
        yield Document(content, line)
        return
    # In a ServiceList out of the API the items do not repeat what the list says of them.
    given = {} if kind == "List" else {"apiVersion": content.get("apiVersion"), "kind": kind.removesuffix("List")}
    for at, item in enumerate(items):
        if isinstance(item, Mapping):
            yield Document({**given, **item}, line)
        else:
            yield UnreadableError(line, 1, f"items[{at}] of the {shown(kind)} is {shown(item)}, and no object")
