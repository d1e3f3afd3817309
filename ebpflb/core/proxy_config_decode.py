"""Reads a document into the configuration's structs: every wrong field is named, not only the first.

Decides what counts as absent, and what is unknown. Knows no rule about values, no flag and no file.

    mapping out of YAML, or made of flags --read--> Reading(KubeProxyConfiguration, problems, unknown fields)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec.structs import FieldInfo, fields

from ebpflb.core.fields import shown
from ebpflb.core.proxy_config_durations import format_duration, parse_duration
from ebpflb.core.proxy_config_fields import FieldType
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration

DEFAULTS: Final = KubeProxyConfiguration()
_MAX_NAME: Final = 60
StructT = TypeVar("StructT", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Problem:
    """One field that cannot be used as it is."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """Return it on one line."""
        return f"{self.path}: {self.problem}; {self.remedy}"


class Reading(NamedTuple):
    """What a document says."""

    config: KubeProxyConfiguration
    """Where there are problems, with the default."""
    problems: tuple[Problem, ...]
    unknown: tuple[str, ...]
    """Paths of fields that the schema does not have, with the one that may be meant."""


def read(document: Mapping[str, Any], base: KubeProxyConfiguration = DEFAULTS, *, in_file: bool = True) -> Reading:
    """Return ``base`` with what the document says. ``in_file``: it comes from one, see ``Treatment.is_zero_unset``."""
    reader = _Reader(in_file=in_file)
    config = reader.struct("", document, base)
    return Reading(config, tuple(reader.problems), tuple(reader.unknown))


@dataclass(slots=True)
class _Reader:
    in_file: bool
    problems: list[Problem] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def struct(self, path: str, document: Mapping[str, Any], base: StructT) -> StructT:
        known = {each.encode_name: each for each in fields(base)}
        self._note_unknown(path, document, known)
        values = {
            each.name: self._field(f"{path}{name}", document[name], getattr(base, each.name), each)
            for name, each in known.items()
            if name in document
        }
        return msgspec.structs.replace(base, **values)

    def _note_unknown(self, path: str, document: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> None:
        for name in document:
            if name not in known:
                is_plain = isinstance(name, str) and name.isidentifier() and len(name) <= _MAX_NAME
                text = name if is_plain else shown(name)
                close = get_close_matches(text, known, n=1)
                hint = f" (is {path}{close[0]} meant?)" if close else ""
                self.unknown.append(f"{path}{text}{hint}")

    def _field(self, path: str, value: Any, base: Any, info: FieldInfo) -> Any:
        if isinstance(base, msgspec.Struct):
            if value is None:
                return base
            if isinstance(value, Mapping):
                return self.struct(f"{path}.", value, base)
            self.problems.append(Problem(path, f"{shown(value)} is not an object", "give its fields below it"))
            return base
        return self._leaf(path, value, base, info)

    def _leaf(self, path: str, value: Any, base: Any, info: FieldInfo) -> Any:
        kind = FieldType.of(info.type)
        if kind.is_unset(value, in_file=self.in_file):
            return base
        try:
            decoded = msgspec.convert("off" if kind.says_off(value) else value, info.type)
            if kind.is_duration and isinstance(decoded, str):
                decoded = format_duration(parse_duration(decoded))
        except (msgspec.ValidationError, ValueError, RecursionError):
            self.problems.append(Problem(path, f"{shown(value)} is not valid", f"give {kind.words}"))
            return base
        return base if kind.is_unset(decoded, in_file=self.in_file) else decoded
