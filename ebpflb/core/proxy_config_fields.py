"""What a field of the configuration can be: its type in words, what becomes of it here, and when it counts as unset.

These annotations are the one source of the checks, the JSON schema, the reference in docs/configuration.md and the
log lines about fields that are not used. Knows no field by name.

    Annotated[type, about(...)] --> decode (checks), notes (log lines), reference (documentation)
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, inspect

DURATION_PATTERN = "^[-+]?(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$"
"""Go takes both the micro sign (U+00B5) and the Greek letter (U+03BC)."""

DURATION_TITLE = "a duration such as 30s or 1h30m"
Duration = Annotated[str, Meta(title=DURATION_TITLE, pattern=DURATION_PATTERN)]
"""Text in the syntax of Go's ``time.ParseDuration``; ``proxy_config_durations.py`` reads it."""
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Long = Annotated[int, Meta(title="a number", ge=-(1 << 63), le=(1 << 63) - 1)]
_ZEROS = ("", 0, "0s")


class Use(StrEnum):
    """What becomes of a field."""

    HONOURED = "honoured"
    """It does what it does in kube-proxy."""
    MAPPED = "mapped"
    """It has a meaning here that comes close."""
    ACCEPTED = "accepted"
    """It is checked, and has no effect."""


class Treatment(NamedTuple):
    """What ``about`` said of a field."""

    use: Use = Use.HONOURED
    why: str = ""
    """What a mapped field does, or why an accepted one does nothing."""
    is_zero_unset: bool = False
    """In a file, ``""`` and 0 mean the default, as they do to kube-proxy: its fields know no other way to be absent.
    Of words out of a set, the empty one does so in a flag, too."""


def about(description: str, *, is_zero_unset: bool = False) -> Meta:
    """Describe a field that is honoured."""
    return Meta(description=description, extra={"treatment": Treatment(is_zero_unset=is_zero_unset)})


def mapped(description: str, how: str, *, is_zero_unset: bool = False) -> Meta:
    """Describe a field with a meaning of its own here."""
    return Meta(description=description, extra={"treatment": Treatment(Use.MAPPED, how, is_zero_unset)})


def accepted(description: str, why: str, *, is_zero_unset: bool = False) -> Meta:
    """Describe a field without effect."""
    return Meta(description=description, extra={"treatment": Treatment(Use.ACCEPTED, why, is_zero_unset)})


class FieldType(NamedTuple):
    """A field's type, taken apart."""

    kind: inspect.Type
    treatment: Treatment
    schema: Mapping[str, Any]
    """What goes into the JSON schema: description, title."""

    @classmethod
    def of(cls, annotation: Any) -> "FieldType":
        """Take an annotation apart."""
        kind = inspect.type_info(annotation)
        if not isinstance(kind, inspect.Metadata):
            return cls(kind, Treatment(), {})
        return cls(kind.type, (kind.extra or {}).get("treatment", Treatment()), kind.extra_json_schema or {})

    @property
    def words(self) -> str:
        """Say what may be given: ``a whole number from 0 to 31``."""
        return str(self.schema.get("title", "")) or _in_words(self.kind)

    @property
    def is_duration(self) -> bool:
        """Whether a text in it is a duration."""
        return DURATION_TITLE in self.words

    def is_unset(self, value: object, *, in_file: bool) -> bool:
        """Return whether a value stands for the default."""
        may_be = self.treatment.is_zero_unset and (in_file or isinstance(self.kind, inspect.LiteralType))
        return value is None or (may_be and not isinstance(value, bool) and value in _ZEROS)

    def says_off(self, value: object) -> bool:
        """Return whether a value is what YAML 1.1 makes of the word ``off``, and the word is a choice here."""
        return value is False and isinstance(self.kind, inspect.LiteralType) and "off" in self.kind.values


def _in_words(kind: inspect.Type) -> str:
    words = "a text"
    match kind:
        case inspect.BoolType():
            words = "true or false"
        case inspect.IntType(ge=int() as least, le=int() as most):
            words = f"a whole number from {least} to {most}"
        case inspect.IntType() | inspect.FloatType():
            words = "a number"
        case inspect.LiteralType(values=values):
            words = f"one of {', '.join(str(value) or '(empty)' for value in values)}"
        case inspect.ListType(item_type=item):
            words = f"a list, each item {_in_words(item)}"
        case inspect.DictType(value_type=value):
            words = f"a mapping, each value {_in_words(value)}"
        case inspect.UnionType(types=types):
            words = " or ".join(_in_words(each) for each in types)
        case inspect.Metadata(type=inner, extra_json_schema=schema):
            words = str((schema or {}).get("title", "")) or _in_words(inner)
        case inspect.StructType(fields=fields):
            words = f"an object with {', '.join(each.encode_name for each in fields)}"
    return words
