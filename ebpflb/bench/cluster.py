"""A namespace of a run's own in a cluster of the user's: made, filled, changed, and deleted however the run ends.

Decides nothing about what is measured. Nothing that was there is changed: every object is made in the namespace, and
goes with it.

    kubeconfig, endpoints --Cluster--> grow(Services) --> their ClusterIPs
                                       order_change --> a process of its own (cluster_changes.py) --> PATCH
"""

import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.bench.apiserver import Changes
from ebpflb.bench.apiserver_objects import SERVICE_PORT, Scale, service_name
from ebpflb.bench.cluster_objects import (
    EVENTS,
    NAMESPACES,
    cluster_service_json,
    cluster_slice_json,
    namespace_json,
    services_path,
    slice_change_json,
    slices_path,
)
from ebpflb.bench.cluster_requests import Requests
from ebpflb.bench.measure import Progress
from ebpflb.bench.process import Running
from ebpflb.bench.signals import shielded
from ebpflb.errors import EbpflbError
from ebpflb.kube.faults import RequestError

PREFIX: Final = "ebpflb-bench-"
_WRITERS: Final = 8
_SAY_EVERY: Final = 500
_GONE_S: Final = 300.0
_LOOK_S: Final = 0.2


class Cluster:
    """The namespace. A context manager."""

    def __init__(self, kubeconfig: Path, endpoints: int) -> None:
        """``endpoints``: of each Service. Raises ``UsageError`` for a kubeconfig that cannot be used."""
        self.namespace = f"{PREFIX}{secrets.token_hex(4)}"
        self._kubeconfig = kubeconfig
        self._endpoints = endpoints
        self._requests = Requests(kubeconfig)
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Make the namespace. Raises ``EbpflbError`` that names a missing right."""
        try:
            self._requests.create(NAMESPACES, namespace_json(self.namespace))
        except BaseException as error:
            is_refused = isinstance(error, RequestError) and error.status
            if not is_refused:  # a connection that broke, or Ctrl-C, may have come after it was made
                self._end(error)
            raise
        where = ["--kubeconfig", str(self._kubeconfig), "--namespace", self.namespace]
        command = [sys.executable, "-m", "ebpflb.bench.cluster_changes", *where, "--endpoints", str(self._endpoints)]
        self._running = Running("cluster_changes", command)
        self._changes = Changes(self._running)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Delete the namespace with everything in it.

        Raises ``EbpflbError`` that names it where that fails; with another error on its way, that one gets a note.
        """
        self._running.stop()
        self._end(error)

    @property
    def scale(self) -> Scale:
        """How many Services there are, of how many endpoints."""
        return Scale(len(self._addresses), self._endpoints)

    def service(self, number: int) -> tuple[str, int]:
        """Return the ClusterIP and the port of a Service."""
        return self._addresses[service_name(number)], SERVICE_PORT

    def grow(self, services: int, progress: Progress) -> None:
        """Make Services until there are so many. Raises ``EbpflbError``, also where the Service network is full."""
        new = range(len(self._addresses), services)
        progress(f"making {len(new):,} Services in the namespace {self.namespace}")
        _each(lambda number: self._create(number, progress), new)
        # Whoever may not change a slice hears of it now, not after a minute of waiting for the change.
        change = slice_change_json(0, self._endpoints, is_changed=False)
        self._requests.patch(f"{slices_path(self.namespace)}/{service_name(0)}", change)
        listed = self._requests.items(services_path(self.namespace))
        self._addresses = {each["metadata"]["name"]: each["spec"]["clusterIP"] for each in listed}

    def addresses(self, number: int) -> tuple[str, ...]:
        """Return the addresses of a Service's endpoints as they are after all that was ordered."""
        return self._changes.addresses(number, self._endpoints)

    def order_change(self, service: int) -> int:
        """Have the first endpoint of a Service exchanged, now; return the number of the order."""
        return self._changes.order(service)

    def written_ns(self, order: int) -> int:
        """Return when the request of a change was sent, by CLOCK_MONOTONIC. Raises ``EbpflbError``."""
        return self._changes.written_ns(order)

    def _create(self, number: int, progress: Progress) -> None:
        self._requests.create(services_path(self.namespace), cluster_service_json(number, self.namespace))
        endpoint_slice = cluster_slice_json(number, self._endpoints, self.namespace)
        self._requests.create(slices_path(self.namespace), endpoint_slice)
        if number and number % _SAY_EVERY == 0:
            progress(f"{number:,} Services are made")

    def _end(self, error: BaseException | None) -> None:
        try:
            self._delete(is_waited_for=error is None)
        except EbpflbError as left:
            if error is None:
                raise
            error.add_note(str(left))
        finally:
            self._requests.close()

    def _delete(self, *, is_waited_for: bool) -> None:
        path = f"{NAMESPACES}/{self.namespace}"
        self._forget_events()
        deadline = time.monotonic() + _GONE_S
        remedy = f"delete it: kubectl --kubeconfig {self._kubeconfig} delete namespace {self.namespace}"
        with shielded(signal.SIGINT, signal.SIGTERM):
            try:
                self._requests.delete(path)
            except EbpflbError as error:
                problem = f"the namespace {self.namespace} could not be deleted: {error.message}"
                raise EbpflbError(problem, remedy=remedy) from error
        while is_waited_for and self._requests.exists(path):
            if time.monotonic() > deadline:
                raise EbpflbError(f"the namespace {self.namespace} is still there after {_GONE_S:.0f} s", remedy=remedy)
            time.sleep(_LOOK_S)

    def _forget_events(self) -> None:
        """Delete what the agent told of its starts, outside of the namespace; where that is forbidden, it expires."""
        with suppress(EbpflbError):
            for event in self._requests.items(EVENTS):
                if event.get("reportingInstance") == self.namespace:
                    self._requests.delete(f"{EVENTS}/{event['metadata']['name']}")


def _each(work: Callable[[int], None], numbers: Iterable[int]) -> None:
    """Do the work for every number, several at once; at an error, or Ctrl-C, leave out what has not begun."""
    with ThreadPoolExecutor(_WRITERS) as pool:
        try:
            for done in [pool.submit(work, number) for number in numbers]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
