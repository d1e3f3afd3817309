"""Destroys sockets whose backend is gone, wherever on the machine they live.

A connected UDP socket never learns that its backend left: DNS clients then time out for ever. A TCP socket that waits
for an answer learns nothing from a pod that vanished without a word; one that sends gives up after a quarter of an
hour. Decides which sockets match: cookie *and* remote address. Must not know how a backend was lost.

    stale sockets (datapath, from sock_origins) -> each network namespace -> sock_diag -> those that were found
"""

import functools
import logging
import socket
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from ebpflb.core.abi import Family, Protocol
from ebpflb.host.namespaces import in_each, network_namespaces
from ebpflb.host.sock_diag import ConnectedSocket, NotSupportedError, SockDiag

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StaleSocket:
    """A socket that talks to a backend that is gone."""

    cookie: int
    address: bytes
    """Of the backend: 4 or 16 bytes."""
    port: int
    protocol: Protocol


def destroy_sockets(stale: Collection[StaleSocket], netns_paths: Iterable[Path] | None = None) -> set[StaleSocket]:
    """Destroy exactly these sockets and return those that were found; the others have been closed, or are hidden.

    Searches the given network namespaces, by default all that can be found. A kernel that cannot destroy sockets of a
    protocol is named in one warning, and none of that protocol is destroyed.
    """
    if not stale:
        return set()
    missing = set(stale)
    namespaces = network_namespaces() if netns_paths is None else netns_paths
    for found in in_each(namespaces, functools.partial(_destroy_here, missing)):
        missing -= found
        if not missing:
            break
    log.debug("stale_sockets wanted=%d destroyed=%d", len(stale), len(stale) - len(missing))
    return set(stale) - missing


def _destroy_here(wanted: Collection[StaleSocket]) -> set[StaleSocket]:
    """Destroy the sockets that live in the calling thread's namespace."""
    found: set[StaleSocket] = set()
    with SockDiag() as diag:
        for protocol in {each.protocol for each in wanted}:
            try:
                found |= _destroy_of(protocol, {each for each in wanted if each.protocol is protocol}, diag)
            except NotSupportedError as error:
                _warn_unsupported(protocol, str(error))
            except OSError as error:  # of one namespace: the others are searched all the same
                log.warning("socket_destroy_failed protocol=%s error=%r", protocol.name, str(error))
    return found


def _destroy_of(protocol: Protocol, wanted: AbstractSet[StaleSocket], diag: SockDiag) -> set[StaleSocket]:
    ports = {each.port for each in wanted}
    only_port = ports.pop() if len(ports) == 1 else 0
    # An IPv6 socket may talk IPv4 (v4-mapped), never the other way round.
    has_ipv4 = any(len(each.address) == Family.IPV4.address_bytes for each in wanted)
    found: set[StaleSocket] = set()
    for family in (socket.AF_INET, socket.AF_INET6) if has_ipv4 else (socket.AF_INET6,):
        for candidate in diag.connected(protocol, family, only_port):
            match = as_stale(candidate)
            if match in wanted and diag.destroy(candidate):
                found.add(match)
    return found


def as_stale(found: ConnectedSocket) -> StaleSocket:
    """Return what a listed socket must equal to be destroyed."""
    return StaleSocket(found.cookie, found.remote_address, found.remote_port, found.protocol)


@functools.cache
def _warn_unsupported(protocol: Protocol, reason: str) -> None:
    log.warning(
        "socket_destroy_unsupported protocol=%s reason=%r effect='clients of a removed backend wait for their own "
        "timeout' remedy='use a kernel with CONFIG_INET_%s_DIAG and CONFIG_INET_DIAG_DESTROY'",
        protocol.name,
        reason,
        protocol.name,
    )
