"""The credentials of this process for an API server: read once for all who ask, and again when that may help.

Decides when: before a token expires, every minute for one that is a mounted file, and when the API server has refused
it. Never twice at a time, and not again at once. Knows neither requests nor kubeconfigs.

    Loading --> Vault.current --> Credentials      Vault.reload <-- 401, TLS failure
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakValueDictionary

from msgspec.structs import replace

from ebpflb.errors import UsageError
from ebpflb.kube.credential_form import Credentials
from ebpflb.kube.file_stamp import file_stamp
from ebpflb.kube.loading import Loading

RELOAD_PERIOD_S: Final = 10.0
"""Nothing is read again sooner, unless the kubeconfig has changed: six requests may fail for one reason."""
EARLY_S: Final = 300.0
"""So long before they expire, credentials are renewed, but not before half of their life is over."""
TOKEN_FILE_S: Final = 60.0
"""A mounted token is read again when this old; kubelet renews it long before it expires."""

_LOG = logging.getLogger(__name__)


class Reading(Protocol):
    """One run of the child; implemented by ``Loading``."""

    def result(self) -> Credentials:
        """Wait for what was read. Raises ``UsageError``."""

    def abort(self) -> None:
        """End it: who waits is told that it failed."""

    def close(self) -> None:
        """Have nothing left of one that nobody waits for."""


class Vault:
    """Thread-safe. The first reading begins at once, and is awaited by the first who asks."""

    def __init__(
        self,
        read: Callable[[], Reading],
        stamp: Callable[[], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``stamp`` changes when what is read has changed. Raises ``UsageError`` when no process can be started."""
        self._read, self._stamp = read, stamp
        self._clock, self._wall_clock = clock, wall_clock
        self._turn = threading.Lock()
        """Held by the thread that reads."""
        self._lock = threading.Lock()
        """Held while what is held is replaced."""
        self._credentials: Credentials | None = None
        self._failure: UsageError | None = None
        self._read_at, self._renew_at, self._token_read_at = 0.0, 0.0, 0.0
        self._count = 0
        """Of readings that came to an end."""
        self._read_stamp = stamp()
        self._reading: Reading | None = read()

    def current(self) -> Credentials:
        """Return what to use for a request. Raises ``UsageError`` when there is nothing that can be used.

        Credentials that expire soon are renewed by a thread of their own; for what replaces expired ones is waited.
        """
        credentials = self._credentials or self._again()
        if credentials.token_file:
            return self._with_token(credentials)
        now = self._wall_clock()
        if not credentials.expires_at or now < self._renew_at:
            return credentials
        if now >= credentials.expires_at:
            return self._again()
        if not self._turn.locked() and not self._is_fresh():
            threading.Thread(target=self._renew, name="kube-credentials", daemon=True).start()
        return credentials

    def reload(self) -> None:
        """Read again. What another thread is reading is waited for. Raises ``UsageError`` when it cannot be used."""
        self._again()

    def abort(self) -> None:
        """End a reading that is under way: those who wait for it are told that it failed."""
        reading = self._reading
        if reading is not None:
            reading.abort()

    def close(self) -> None:
        """Have no child left."""
        self.abort()
        with self._turn:
            reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _again(self) -> Credentials:
        known = self._count
        with self._turn:
            if self._count == known and not self._is_fresh():
                self._take()
            if self._failure is not None:
                raise UsageError(self._failure.message, remedy=self._failure.remedy)
            assert self._credentials is not None, "it was read, or that has failed"
            return self._credentials

    def _is_fresh(self) -> bool:
        """Whether to read again now would tell nothing new."""
        is_recent = self._count > 0 and self._clock() - self._read_at < RELOAD_PERIOD_S
        return is_recent and self._stamp() == self._read_stamp

    def _take(self) -> None:
        """Wait for the first reading, or read again; keep what there was if it fails."""
        try:
            if self._reading is None:
                self._read_stamp = self._stamp()
                self._reading = self._read()
            credentials = self._reading.result()
        except UsageError as error:
            self._failure = error
        else:
            now = self._wall_clock()
            self._renew_at = credentials.expires_at - min(EARLY_S, (credentials.expires_at - now) / 2)
            with self._lock:
                self._token_read_at = self._clock()
                self._credentials, self._failure = credentials, None
        finally:
            self._reading = None
            self._read_at = self._clock()
            self._count += 1

    def _renew(self) -> None:
        try:
            self._again()
        except UsageError as error:
            _LOG.warning("credentials_not_renewed reason=%r", str(error))

    def _with_token(self, credentials: Credentials) -> Credentials:
        """Read the mounted token again if it is a minute old."""
        if self._clock() - self._token_read_at < TOKEN_FILE_S:
            return credentials
        remedy = "check the volume of the pod's service account"
        try:
            token = Path(credentials.token_file).read_bytes().decode("ascii").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"the token {credentials.token_file} cannot be read: {reason}", remedy=remedy) from error
        if not token:
            raise UsageError(f"the token {credentials.token_file} is empty", remedy=remedy)
        renewed = replace(credentials, authorization=f"Bearer {token}")
        with self._lock:
            if self._credentials is credentials:
                self._credentials, self._token_read_at = renewed, self._clock()
        return renewed


_SHARED: WeakValueDictionary[tuple[object, ...], Vault] = WeakValueDictionary()
_SHARING = threading.Lock()


def shared_vault(kubeconfig: Path | None, context: str | None, server: str) -> Vault:
    """Return the one vault of all who ask for the same credentials at the same time; it goes with the last of them."""

    def stamp() -> object:
        return file_stamp(kubeconfig)

    key = (kubeconfig, context, server, stamp())
    with _SHARING:
        vault = _SHARED.get(key)
        if vault is None:
            vault = _SHARED[key] = Vault(lambda: Loading(kubeconfig, context, server), stamp)
        return vault


@contextmanager
def read_early(kubeconfig: Path | None, server: str) -> Iterator[Callable[[], None]]:
    """Have the credentials read while other things are prepared, for the connections that are made inside.

    Yield what ends that reading, from any thread: who waits for it gets a ``UsageError`` at once.
    """
    vault = shared_vault(kubeconfig, None, server)
    try:
        yield vault.abort
    finally:
        vault.close()
