"""The Kubernetes API as a source: one thread per kind mirrors its collection into the sink until told to stop.

Decides what runs, and how it ends. Knows no protocol (``reflector.py``) and no rule of any object (``core``).

    API server --> Reflectors --> Sink
"""

import logging
import random
import threading
import time
from pathlib import Path

from ebpflb.kube.connection import Connection
from ebpflb.kube.faults import Faults
from ebpflb.kube.reflector import Reflector
from ebpflb.kube.resources import watched_resources
from ebpflb.kube.throttle import UNLIMITED, Throttle
from ebpflb.reconcile.ports import Sink

STOP_TIMEOUT_S = 1.0
"""How long ``run`` waits for its threads. One that still connects to a silent address is left to end by itself."""

_LOG = logging.getLogger(__name__)


class KubeSource:
    """The objects of an API server, the own Node's only. Implements ``reconcile.ports.Source``."""

    def __init__(
        self,
        kubeconfig: Path | None,
        node_name: str,
        *,
        context: str | None = None,
        server: str = "",
        qps: float = UNLIMITED,
        burst: int = 1,
        rng: random.Random | None = None,
    ) -> None:
        """Read the kubeconfig (``None``: the pod's service account). Raises ``UsageError`` if it cannot be used."""
        self._connection = Connection(kubeconfig, context, server=server, throttle=Throttle(qps, burst))
        self._node_name = node_name
        self._rng = rng or random.SystemRandom()

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set."""
        faults = Faults(sink)
        reflectors = [
            Reflector(resource, self._connection, sink, faults, rng=self._rng)
            for resource in watched_resources(self._node_name)
        ]
        threads = [
            threading.Thread(target=reflector.run, args=(stop,), name=f"kube-{number}", daemon=True)
            for number, reflector in enumerate(reflectors)
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        self._connection.abort()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _LOG.info("left_connecting thread=%r", thread.name)
        self._connection.close()
