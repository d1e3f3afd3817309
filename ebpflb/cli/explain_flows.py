"""Reads which flows are asked about: ``--from`` and ``--to``, or lines of JSON.

Decides what is a flow and what is wrong with one that is none. Knows no row and no verdict.

    {"from": "10.0.0.2", "to": "10.96.0.10", "port": 53, "proto": "UDP"} --> Query, or FieldError
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct, field

from ebpflb.core import fields
from ebpflb.core.abi import Family, Protocol
from ebpflb.core.decode import FieldError
from ebpflb.core.model import family_of

_TARGET: Final = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<ipv4>[^:\[\]]+)):(?P<port>[0-9]{1,6})(?:/(?P<proto>\w+))?")
_LOCATION: Final = re.compile(r" - at `\$\.?(?P<path>.*)`$")


@dataclass(frozen=True, slots=True)
class Query:
    """A flow as somebody asks about it."""

    source: bytes
    destination: bytes
    port: int
    protocol: Protocol
    device: str = ""
    """By which it comes in; empty: not said."""

    @property
    def family(self) -> Family:
        """Both addresses are of one."""
        return family_of(self.destination)


class _Line(Struct):
    source: str = field(name="from")
    destination: str = field(name="to")
    port: int
    proto: str = "TCP"
    device: str = ""


_DECODER: Final = msgspec.json.Decoder(_Line)


def parse_line(line: bytes, device: str = "") -> Query:
    """Return the flow of a line; ``device`` is for lines that name none. Raises ``FieldError``, and nothing else."""
    try:
        asked = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise _mistyped(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        remedy = 'write {"from": "10.0.0.2", "to": "10.96.0.10", "port": 53, "proto": "UDP"}'
        raise FieldError("flow", f"is not JSON: {error}", remedy) from None
    return _query(asked.source, asked.destination, asked.port, asked.proto, asked.device or device)


def parse_target(source: str, target: str, device: str = "") -> Query:
    """Return the flow of ``--from`` and ``--to``. Raises ``FieldError``."""
    found = _TARGET.fullmatch(target.strip())
    if found is None:
        problem = f"{fields.shown(target)} is not an address with a port"
        raise FieldError("to", problem, "write it as 10.96.0.10:53/udp or [fd00::10]:53/udp")
    destination = found["ipv6"] or found["ipv4"]
    return _query(source, destination, int(found["port"]), found["proto"] or "TCP", device)


def _query(source: str, destination: str, port: int, protocol: str, device: str) -> Query:
    query = Query(
        _address("from", source),
        _address("to", destination),
        fields.port_number("port", port),
        fields.protocol("proto", protocol.upper()),
        device,
    )
    if len(query.source) != len(query.destination):
        problem = f"is IPv{family_of(query.source).value}, and to is IPv{query.family.value}"
        raise FieldError("from", problem, "give both addresses in one family")
    return query


@lru_cache(maxsize=1 << 16)
def _address(path: str, text: str) -> bytes:
    return fields.address(path, text)


def _mistyped(message: str) -> FieldError:
    """Turn ``Expected `int`, got `str` - at `$.port``` into a field and a sentence."""
    found = _LOCATION.search(message)
    path = (found["path"] if found else "") or "flow"
    problem = (message[: found.start()] if found else message).replace("`", "")
    remedy = "give from, to and proto as strings, port as a number"
    return FieldError(path, problem[:1].lower() + problem[1:], remedy)
