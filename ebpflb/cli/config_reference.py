"""The reference of the configuration, made of what the schema says of each field: for people, and for editors.

Decides the form only. ``docs/configuration.md`` and ``docs/config.schema.json`` hold what is made here.

    KubeProxyConfiguration, flags --> reference() (Markdown), json_schema()
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import fields

from ebpflb.cli.config_own_flags import PATHS
from ebpflb.core.proxy_config_decode import DEFAULTS
from ebpflb.core.proxy_config_fields import FieldType, Use
from ebpflb.core.proxy_config_flags import FLAGS
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NULL: Final = {"type": "null"}
_HEADING: Final = "| field | flag | what is given | default | what it does |\n|---|---|---|---|---|"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the whole file. Every field may be null, which is its default."""
    schema = msgspec.json.schema(KubeProxyConfiguration)
    top = schema["$defs"][KubeProxyConfiguration.__name__]
    top["required"] = ["apiVersion", "kind"]
    for name in top["required"]:
        top["properties"][name]["const"] = top["properties"][name].pop("default")
    for definition in schema["$defs"].values():
        required = definition.get("required", ())
        properties = definition["properties"].items()
        definition["properties"] = {name: each if name in required else _nullable(each) for name, each in properties}
    return {"$schema": _DIALECT, "title": KubeProxyConfiguration.__name__, **schema}


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Allow null beside what is allowed; words about the field stay outside of the choice."""
    about = {name: schema[name] for name in ("description", "default") if name in schema}
    rest = {name: value for name, value in schema.items() if name not in about}
    choices = rest.pop("anyOf", None) or [rest]
    return {**about, "anyOf": [*choices, _NULL]}


def reference() -> str:
    """Return a section of Markdown for each object, with a row for each of its fields."""
    return "\n".join(_sections("", DEFAULTS)).rstrip() + "\n"


def _sections(path: str, config: msgspec.Struct) -> Iterator[str]:
    leaves = [each for each in fields(config) if not isinstance(getattr(config, each.name), msgspec.Struct)]
    if leaves:
        yield f"## {f'`{path}`' if path else 'The document'}\n\n{_HEADING}"
        for each in leaves:
            yield _row(path, each.encode_name, FieldType.of(each.type), getattr(config, each.name))
        yield ""
    for each in fields(config):
        value = getattr(config, each.name)
        if isinstance(value, msgspec.Struct):
            yield from _sections(_joined(path, each.encode_name), value)


def _row(path: str, name: str, kind: FieldType, default: Any) -> str:
    treatment = kind.treatment
    words = str(kind.schema["description"])
    if treatment.use is not Use.HONOURED:
        words = f"{words} *{treatment.use.capitalize()}*: {treatment.why}."
    flags = ", ".join(f"`{flag}`" for flag in _flags(_joined(path, name)))
    shown = msgspec.json.encode(default).decode()
    cells = (f"`{name}`", flags, kind.words, f"`{shown}`", words)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _flags(path: str) -> Iterator[str]:
    from ebpflb.cli.run import command  # noqa: PLC0415 - its options are the flags; nothing else here needs the agent

    options = {each.name: (*each.opts, *each.secondary_opts) for each in command.params}
    for flag in FLAGS:
        if path in flag.paths:
            yield from ("-v", "--v") if flag.name == "--v" else (flag.name,)
    for name, field_path in PATHS.items():
        if field_path == path:
            yield from options[name]


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
