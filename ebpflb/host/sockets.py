"""Destroys connected UDP sockets whose backend is gone, wherever on the machine they live.

A connected UDP socket never learns that its backend left: DNS clients then time out for ever. Decides which sockets
match: cookie *and* remote address. Must not know how a backend was lost.

    stale sockets (datapath, from sock_origins) -> each network namespace -> sock_diag -> count
"""

import functools
import logging
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebpflb.host.namespaces import in_each, network_namespaces
from ebpflb.host.sock_diag import NotSupportedError, SockDiag, UdpSocket

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StaleSocket:
    """A socket that talks to a backend that is gone."""

    cookie: int
    address: bytes
    """Of the backend: 4 or 16 bytes."""
    port: int


def destroy_udp_sockets(stale: Collection[StaleSocket], netns_paths: Sequence[Path] | None = None) -> int:
    """Destroy exactly these sockets and return how many there were.

    Searches the given network namespaces, by default all that can be found. A kernel that cannot destroy sockets is
    named in one warning, and nothing is destroyed.
    """
    if not stale:
        return 0
    remaining = set(stale)
    destroyed = 0
    namespaces = network_namespaces() if netns_paths is None else netns_paths
    for found in in_each(namespaces, functools.partial(_destroy_here, remaining)):
        destroyed += found
        if not remaining:
            break
    log.debug("stale_sockets wanted=%d destroyed=%d", len(stale), destroyed)
    return destroyed


def _destroy_here(remaining: set[StaleSocket]) -> int:
    """Destroy the matching sockets of the calling thread's namespace; take what was found off ``remaining``."""
    ports = {each.port for each in remaining}
    only_port = ports.pop() if len(ports) == 1 else 0
    destroyed = 0
    try:
        with SockDiag() as diag:
            for family in (socket.AF_INET, socket.AF_INET6):
                for found in diag.connected_udp(family, only_port):
                    match = as_stale(found)
                    if match in remaining:
                        remaining.discard(match)
                        destroyed += diag.destroy(found)
    except (NotSupportedError, FileNotFoundError):
        _warn_unsupported()
    return destroyed


def as_stale(found: UdpSocket) -> StaleSocket:
    """Return what a listed socket must equal to be destroyed."""
    return StaleSocket(found.cookie, found.remote_address, found.remote_port)


@functools.cache
def _warn_unsupported() -> None:
    log.warning(
        "socket_destroy_unsupported effect='connected UDP clients of a removed backend wait for their own timeout' "
        "remedy='use a kernel with CONFIG_INET_UDP_DIAG and CONFIG_INET_DIAG_DESTROY'"
    )
