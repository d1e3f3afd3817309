"""Typed decoding of API objects, and the words for what is wrong with a field.

Decides only whether each field has the type that ``schema.py`` gives it. Knows no rule and no file.

    JSON bytes | dict out of YAML --decode--> structs, or FieldError(path, problem, remedy)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from ebpflb.core.schema import RawNode, RawPod, RawService, RawServiceCIDR, RawSlice

Document = bytes | msgspec.Raw | Mapping[str, Any]
"""One API object: its JSON, or the mapping that YAML or JSON was read into."""

WHOLE_DOCUMENT = "document"
"""What an error names when the problem has no single field."""


class FieldError(Exception):
    """One field is not what the schema says. ``manifest.py`` adds the object's name and raises an ``ObjectError``."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


SchemaT = TypeVar("SchemaT", RawService, RawSlice, RawNode, RawServiceCIDR, RawPod)

_WORDS = {
    "int": "a whole number",
    "float": "a number with a fraction",
    "str": "a string",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "nothing",
}
_LOCATION = re.compile(r" - at (?P<key>`key` in )?`\$\.?(?P<path>.*)`$", re.DOTALL)


@cache
def _decoder(schema: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(schema)


def decode(document: Document, schema: type[SchemaT]) -> SchemaT:
    """Return the document as ``schema``. Raises ``FieldError`` for anything else, and nothing but that."""
    try:
        if isinstance(document, Mapping):
            return msgspec.convert(document, schema)
        decoded: SchemaT = _decoder(schema).decode(document)
    except msgspec.ValidationError as error:
        raise _in_words(str(error)) from None
    except UnicodeEncodeError:
        problem = "holds half of a UTF-16 surrogate pair"  # JSON's \ud800, for which UTF-8 has no bytes
        raise FieldError(WHOLE_DOCUMENT, problem, "write the character itself, or remove it") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"is not JSON: {error}"
        raise FieldError(WHOLE_DOCUMENT, problem, "have it written again by whoever wrote it") from None
    except RecursionError:
        raise FieldError(WHOLE_DOCUMENT, "is nested too deeply", "remove the nesting") from None
    return decoded


def _in_words(message: str) -> FieldError:
    """Turn ``Expected `int`, got `str` - at `$.spec.ports[0].port``` into a field and a sentence."""
    found = _LOCATION.search(message)
    path = (found["path"] if found else "") or WHOLE_DOCUMENT
    problem = message[: found.start()] if found else message
    problem = re.sub(r"`([a-z |]+)`", lambda match: _type_in_words(match[1]), problem)
    problem = ("a key in it: " if found and found["key"] else "") + problem[:1].lower() + problem[1:]
    return FieldError(path, problem, "give it the type that the Kubernetes API gives it")


def _type_in_words(types: str) -> str:
    words = [_WORDS.get(name, name) for name in types.split(" | ") if name != "null" or types == "null"]
    return " or ".join(words)


class _HeadMetadata(Struct, rename="camel"):
    name: str | None = None
    namespace: str | None = None
    resource_version: str | None = None


class _Head(Struct, rename="camel"):
    api_version: str | None = None
    kind: str | None = None
    metadata: _HeadMetadata | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a document says it is; an empty string where it does not say, or not in a string."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    resource_version: str = ""


def identify(document: Document) -> Identity:
    """Return who a document says it is. Never raises: an error message needs a name most when the rest is wrong."""
    try:
        head = msgspec.convert(document, _Head) if isinstance(document, Mapping) else _decoder(_Head).decode(document)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _identify_leniently(document)
    metadata = head.metadata or _HeadMetadata()
    return Identity(
        head.api_version or "",
        head.kind or "",
        metadata.namespace or "",
        metadata.name or "",
        metadata.resource_version or "",
    )


def _identify_leniently(document: Document) -> Identity:
    """Take every part that is a string, whatever its neighbours are."""
    try:
        plain: Any = document if isinstance(document, Mapping) else msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Identity()
    top = plain if isinstance(plain, Mapping) else {}
    metadata = top.get("metadata")
    inner = metadata if isinstance(metadata, Mapping) else {}
    return Identity(
        _string(top.get("apiVersion")),
        _string(top.get("kind")),
        _string(inner.get("namespace")),
        _string(inner.get("name")),
        _string(inner.get("resourceVersion")),
    )


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
