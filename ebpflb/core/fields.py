"""What single fields of API objects may say: names, ports, protocols, addresses, prefixes, words out of a set.

Each function takes the field's path and its decoded value and returns the model's value, or raises ``FieldError``.
Knows no kind of object.

    decoded field --> check --> value of the model
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import TypeVar

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.decode import FieldError
from ebpflb.core.model import parse_address

WordT = TypeVar("WordT")

MAX_PORT = 65535
FAMILIES = {"IPv4": Family.IPV4, "IPv6": Family.IPV6}
_MAX_SHOWN = 60
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LENGTH = re.compile(r"[0-9]{1,3}")
_TRANSPORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
_PROTOCOLS = {"": Protocol.TCP, **{transport.name: transport for transport in _TRANSPORTS}}
_UNFIT = {
    "0.0.0.0/32": "the unspecified",
    "127.0.0.0/8": "a loopback",
    "169.254.0.0/16": "a link-local",
    "224.0.0.0/4": "a multicast",
    "255.255.255.255/32": "the broadcast",
    "::/128": "the unspecified",
    "::1/128": "a loopback",
    "fe80::/10": "a link-local",
    "ff00::/8": "a multicast",
}
_SPECIAL: dict[int, list[tuple[str, int, int]]] = {family.address_bytes: [] for family in Family}
_FIRST_BYTES: dict[int, set[int]] = {family.address_bytes: set() for family in Family}
"""Of the special addresses: most others are told from them by a look at one byte."""
for _text, _kind in _UNFIT.items():
    _network = ip_network(_text)
    _host_bits = _network.max_prefixlen - _network.prefixlen
    _SPECIAL[_network.max_prefixlen // 8].append((_kind, _host_bits, int(_network.network_address) >> _host_bits))
    _FIRST_BYTES[_network.max_prefixlen // 8].update(range(_network[0].packed[0], _network[-1].packed[0] + 1))
_MAPPED = bytes(10) + b"\xff\xff"


def shown(value: object) -> str:
    """Return a value as an error message may show it: printable, on one line, short."""
    try:
        text = ascii(value)
    except ValueError:  # Python writes no number of more than 4300 digits; YAML can, in hexadecimal ones
        return "a number of too many digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def object_name(path: str, value: str | None) -> str:
    """Return the name of an object (RFC 1123 subdomain)."""
    if not value:
        raise FieldError(path, "is missing", "name the object")
    if not _SUBDOMAIN.fullmatch(value):
        problem = f"{shown(value)} is not a DNS name in lower case"
        raise FieldError(path, problem, "use letters a-z, digits, '-' and '.', at most 253 of them")
    return value


def label(path: str, value: str) -> str:
    """Return the name of a namespace, Service or port (RFC 1123 label); ``lb_service.name`` has room for no more."""
    if not _LABEL.fullmatch(value):
        problem = f"{shown(value)} is not a DNS label in lower case"
        raise FieldError(path, problem, "use letters a-z, digits and '-', at most 63 of them")
    return value


def port_name(path: str, value: str | None) -> str:
    """Return the name of a port; an absent name is the empty one, which is what the API server fills in."""
    return label(path, value) if value else ""


def port_number(path: str, value: int | None) -> int:
    """Return a port from 1 to 65535."""
    if value is None:
        raise FieldError(path, "is missing", f"give a port from 1 to {MAX_PORT}")
    if not 1 <= value <= MAX_PORT:
        number = value if abs(value) <= 1 << 64 else "the number"
        raise FieldError(path, f"{number} is not a port", f"give a port from 1 to {MAX_PORT}")
    return value


def protocol(path: str, value: str | None) -> Protocol:
    """Return a transport protocol; absent is TCP."""
    return word(path, value, _PROTOCOLS)


def word(path: str, value: str | None, choices: Mapping[str, WordT]) -> WordT:
    """Return what one of a few words means; the empty word, if it is a choice, is the default."""
    try:
        return choices[value or ""]
    except KeyError:
        remedy = f"use one of {', '.join(choice for choice in choices if choice)}"
        raise FieldError(path, f"{shown(value or '')} is not known", remedy) from None


def address(path: str, value: str | None) -> bytes:
    """Return an address in its canonical form; an IPv4-mapped IPv6 address is the IPv4 address."""
    text = value or ""
    try:
        packed = parse_address(text)
    except ValueError:
        packed = b""
    if not packed or "%" in text:
        problem = f"{shown(text)} is not an IP address"
        raise FieldError(path, problem, "give an IPv4 or IPv6 address without zone or prefix length")
    return packed.removeprefix(_MAPPED)


def routable_address(path: str, value: str | None) -> bytes:
    """Return an address that packets to or from a Service may carry."""
    packed = address(path, value)
    special = _special(packed)
    if special:
        problem = f"{shown(value)} is {special} address"
        raise FieldError(path, problem, "give an address that other machines can send to")
    return packed


def routable_addresses(path: str, values: Iterable[str] | None) -> tuple[bytes, ...]:
    """Return the addresses of a list, each once, in order."""
    return tuple(dict.fromkeys(routable_address(f"{path}[{at}]", value) for at, value in enumerate(values or ())))


def _special(packed: bytes) -> str:
    """Name what makes an address unfit for a Service (``0.0.0.0`` is also the key of NodePorts); "" if nothing does."""
    if packed[0] not in _FIRST_BYTES[len(packed)]:
        return ""
    number = int.from_bytes(packed)
    for kind, host_bits, network in _SPECIAL[len(packed)]:
        if number >> host_bits == network:
            return kind
    return ""


def prefix(path: str, value: str) -> str:
    """Return a prefix in its canonical text; blanks around it and leading zeros do not matter."""
    words, _, length = value.strip().partition("/")
    try:
        has_zone, bits = "%" in words, int(length) if _LENGTH.fullmatch(length) else -1
        return str(ip_network((parse_address("" if has_zone else words), bits), strict=False))
    except ValueError:
        problem = f"{shown(value)} is not a prefix"
        raise FieldError(path, problem, "give it as 10.244.1.0/24 or fd00:1::/64") from None
