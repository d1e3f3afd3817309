"""Starts an API server for measurements at a place of the lab, and has it change things.

Knows how to speak to the process; what is served is apiserver_process.py's.

    Node, Scale --> ApiServer --> kubeconfig for an agent; order_change --> when the event was written
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.topology import Node

LISTEN_SECONDS = 60.0
ANSWER_SECONDS = 10.0


class ApiServer:
    """Context manager: one server of one cluster, on a node's loopback address."""

    def __init__(self, node: Node, scale: Scale) -> None:
        self.scale = scale
        size = ["--services", str(scale.services), "--endpoints", str(scale.endpoints)]
        self._running = node.popen_module(
            "ebpflb.bench.apiserver_process", [*size, "--node", node.name, "--address", node.address]
        )
        self._orders = 0
        self._port = 0

    def __enter__(self) -> Self:
        """Wait until it listens: every object has been encoded then."""
        line = self._running.wait_for_line(lambda line: line.startswith("listening "), LISTEN_SECONDS)
        self._port = int(line.split()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self._running.stop()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that reaches it; JSON is YAML."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "clusters": [{"name": "bench", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "bench", "user": {}}],
        }
        path.write_text(json.dumps(document))
        return path

    def order_change(self, service: int) -> int:
        """Have the first endpoint of a Service exchanged, now; return the number of the order."""
        self._orders += 1
        self._running.tell(f"change {self._orders} {service}")
        return self._orders

    def written_ns(self, order: int) -> int:
        """Return when the event of a change was written, by CLOCK_MONOTONIC. Raises ``EbpflbError``."""
        answer = f"changed {order} "
        return int(self._running.wait_for_line(lambda line: line.startswith(answer), ANSWER_SECONDS).split()[2])
