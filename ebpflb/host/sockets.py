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
    wanted = set(stale)
    searches = [_Search(protocol, {each for each in wanted if each.protocol is protocol}) for protocol in Protocol]
    searches = [search for search in searches if search.missing]
    if not searches:
        return set()
    namespaces = network_namespaces() if netns_paths is None else netns_paths
    for is_done in in_each(namespaces, functools.partial(_search_here, searches)):
        if is_done:
            break
    found = wanted.difference(*(search.missing for search in searches))
    log.debug("stale_sockets wanted=%d destroyed=%d", len(wanted), len(found))
    return found


class _Search:
    """The search for sockets of one protocol, namespace by namespace."""

    def __init__(self, protocol: Protocol, missing: set[StaleSocket]) -> None:
        self.protocol = protocol
        self.missing = missing
        """Those that were not found yet."""
        ports = {each.port for each in missing}
        self._only_port = ports.pop() if len(ports) == 1 else 0
        # An IPv6 socket may talk IPv4 (v4-mapped), never the other way round.
        has_ipv4 = any(len(each.address) == Family.IPV4.address_bytes for each in missing)
        self._families = (socket.AF_INET, socket.AF_INET6) if has_ipv4 else (socket.AF_INET6,)

    def look(self, diag: SockDiag) -> None:
        """Destroy those that live in the namespace of ``diag``."""
        for family in self._families:
            for candidate in diag.connected(self.protocol, family, self._only_port):
                match = as_stale(candidate)
                if match in self.missing and diag.destroy(candidate):
                    self.missing.discard(match)


def _search_here(searches: Collection[_Search]) -> bool:
    """Search the calling thread's namespace; return whether all have been found."""
    with SockDiag() as diag:
        for search in searches:
            try:
                search.look(diag)
            except NotSupportedError as error:
                _warn_unsupported(search.protocol, str(error))
            except OSError as error:  # of one namespace: the others are searched all the same
                log.warning("socket_destroy_failed protocol=%s error=%r", search.protocol.name, str(error))
    return not any(search.missing for search in searches)


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
