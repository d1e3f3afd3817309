"""Requests of a run to a cluster of the user's, with words for what is missing there.

Decides the remedy of a refusal, and what is tried again: only what an API server asks for. Knows no object.

    Connection --Requests--> created, patched, deleted | EbpflbError: what is wrong, and what to do
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ebpflb.errors import EbpflbError
from ebpflb.kube.connection import Connection
from ebpflb.kube.faults import FORBIDDEN, NOT_FOUND, UNAUTHORIZED, RequestError

JSON_TYPE: Final = "application/json"
MERGE_TYPE: Final = "application/merge-patch+json"
_TOO_MANY: Final = 429
_TRIES: Final = 10
_PAGE: Final = "500"
_READ_S: Final = 30.0
RIGHTS: Final = (
    "grant what docs/performance.md lists to the kubeconfig's user, with a user that may: kubectl create clusterrole "
    "ebpflb-bench --verb=get,list,watch,create,patch,delete "
    "--resource=namespaces,services,endpointslices.discovery.k8s.io,nodes,pods,servicecidrs.networking.k8s.io,"
    "events.events.k8s.io; "
    "kubectl create clusterrolebinding ebpflb-bench --clusterrole=ebpflb-bench --user=USER"
)


class Requests:
    """One cluster. Thread-safe."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the kubeconfig. Raises ``UsageError`` for one that cannot be used."""
        self._connection = Connection(kubeconfig)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def create(self, path: str, body: bytes) -> None:
        """Create an object of a collection. Raises ``EbpflbError``."""
        self._send("POST", path, body, JSON_TYPE)

    def patch(self, path: str, body: bytes) -> None:
        """Merge into an object. Raises ``EbpflbError``."""
        self._send("PATCH", path, body, MERGE_TYPE)

    def delete(self, path: str) -> None:
        """Delete an object; one that is not there is no error. Raises ``EbpflbError``."""
        try:
            self._send("DELETE", path, b"", JSON_TYPE)
        except RequestError as error:
            if error.status != NOT_FOUND:
                raise

    def exists(self, path: str) -> bool:
        """Return whether an object is there. Raises ``EbpflbError``."""
        try:
            self._get(path, {})
        except RequestError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    def items(self, path: str) -> Iterator[Any]:
        """Yield every object of a collection, page by page. Raises ``EbpflbError``."""
        query = {"limit": _PAGE}
        while True:
            page = self._get(path, query)
            yield from page["items"]
            if not (position := page["metadata"].get("continue")):
                return
            query = {"limit": _PAGE, "continue": position}

    def _get(self, path: str, query: dict[str, str]) -> Any:
        try:
            with self._connection.get(path, query, _READ_S) as response:
                return json.loads(response.read())
        except RequestError as error:
            raise _told(error) from error
        except ValueError as error:
            raise EbpflbError(
                f"--kubeconfig: {self._connection.server}{path} answered something else than JSON",
                remedy="give a kubeconfig whose server is a cluster's API server",
            ) from error

    def _send(self, method: str, path: str, body: bytes, content_type: str) -> None:
        for tries_left in reversed(range(_TRIES)):
            try:
                self._connection.send(method, path, body, content_type)
            except RequestError as error:
                if error.status != _TOO_MANY or not tries_left:
                    raise _told(error) from error
                time.sleep(error.retry_after_s or 1.0)
            else:
                return


def _told(error: RequestError) -> RequestError:
    """Return the error with the remedy of somebody who runs a benchmark, not an agent."""
    remedies = {
        0: "check that this machine reaches the server of the kubeconfig: kubectl --kubeconfig FILE version",
        UNAUTHORIZED: "give a kubeconfig whose credentials are good: kubectl --kubeconfig FILE auth whoami",
        FORBIDDEN: RIGHTS,
    }
    remedy = remedies.get(error.status, "give fewer Services with --services, or see the API server's log")
    return RequestError(f"--kubeconfig: {error.message}", remedy=remedy, status=error.status)
