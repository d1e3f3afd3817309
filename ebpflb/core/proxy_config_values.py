"""Addresses, prefixes and ``IP:port`` as the configuration writes them, read the way kube-proxy reads them.

Returns ``None`` for what cannot be read: the words for that are the rules'. Knows no field.

    text --> packed address | network | (address, port) | None
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from ebpflb.core.fields import MAX_PORT
from ebpflb.core.model import format_address, format_endpoint, parse_address

_LONGEST = 64
"""Characters of any address or port: what is longer is not even looked at."""


class HostPort(NamedTuple):
    """Where a server listens."""

    address: bytes
    port: int

    def __str__(self) -> str:
        """Return ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
        return format_endpoint(self.address, self.port)


def parse_ip(text: str) -> bytes | None:
    """Return an address without zone."""
    if len(text) > _LONGEST or "%" in text or text != text.strip():
        return None
    try:
        return parse_address(text)
    except ValueError:
        return None


def parse_prefix(text: str) -> IPv4Network | IPv6Network | None:
    """Return a network; bits behind the prefix are allowed, and dropped."""
    head, slash, length = text.rpartition("/")
    address = parse_ip(head)
    if not slash or address is None or not (length.isascii() and length.isdigit()) or len(length) > len("128"):
        return None
    try:
        return ip_network(f"{format_address(address)}/{int(length)}", strict=False)
    except ValueError:
        return None


def parse_host_port(text: str) -> HostPort | None:
    """Return address and port of ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    head, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        return None
    is_bracketed = head.startswith("[") and head.endswith("]")
    address = parse_ip(head[1:-1] if is_bracketed else head)
    return HostPort(address, int(port)) if address is not None and is_bracketed == (":" in head) else None


def with_port(text: str, port: int) -> str:
    """Return an address alone with the port; anything else as it is."""
    address = parse_ip(text.removeprefix("[").removesuffix("]"))
    return text if address is None else format_endpoint(address, port)
