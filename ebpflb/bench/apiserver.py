"""Starts an API server for measurements at a place of the lab, and has it change things.

Knows how to speak to the process; what is served is apiserver_process.py's. ``Changes`` is how one speaks to any
process that changes endpoints on order.

    Node, Scale --> ApiServer --> kubeconfig for an agent; order_change --> when the event was written
"""

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpflb.bench.apiserver_objects import SERVICE_PORT, Scale, endpoint_addresses, service_address
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Node

LISTEN_SECONDS = 60.0
ANSWER_SECONDS = 10.0


class Changes:
    """Orders to a process: ``change ORDER N`` on its stdin, ``changed ORDER NANOSECONDS`` on its stdout."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._orders = 0
        self._changed: set[int] = set()

    def addresses(self, service: int, endpoints: int) -> tuple[str, ...]:
        """Return the addresses of a Service's endpoints as they are after all that was ordered."""
        return endpoint_addresses(service, endpoints, is_changed=service in self._changed)

    def order(self, service: int) -> int:
        """Have the first endpoint of a Service exchanged, now; return the number of the order."""
        self._orders += 1
        self._changed ^= {service}
        with suppress(BrokenPipeError):  # why the process has ended is told by who waits for its answer
            self._running.tell(f"change {self._orders} {service}")
        return self._orders

    def written_ns(self, order: int) -> int:
        """Return when a change began, by CLOCK_MONOTONIC. Raises ``EbpflbError``."""
        answer = f"changed {order} "
        return int(self._running.wait_for_line(lambda line: line.startswith(answer), ANSWER_SECONDS).split()[2])


class ApiServer:
    """Context manager: one server of one cluster, on a node's loopback address."""

    def __init__(self, node: Node, scale: Scale) -> None:
        self.scale = scale
        size = ["--services", str(scale.services), "--endpoints", str(scale.endpoints)]
        self._running = node.popen_module(
            "ebpflb.bench.apiserver_process", [*size, "--node", node.name, "--address", node.address]
        )
        self._changes = Changes(self._running)
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

    def service(self, number: int) -> tuple[str, int]:
        """Return the ClusterIP and the port of a Service."""
        return service_address(number), SERVICE_PORT

    def addresses(self, number: int) -> tuple[str, ...]:
        """Return the addresses of a Service's endpoints as they are after all that was ordered."""
        return self._changes.addresses(number, self.scale.endpoints)

    def order_change(self, service: int) -> int:
        """Have the first endpoint of a Service exchanged, now; return the number of the order."""
        return self._changes.order(service)

    def written_ns(self, order: int) -> int:
        """Return when the event of a change was written, by CLOCK_MONOTONIC. Raises ``EbpflbError``."""
        return self._changes.written_ns(order)
