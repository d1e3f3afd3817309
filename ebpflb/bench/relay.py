"""An agent's way from its node's namespace to the API server of a kubeconfig: a relay process, and a kubeconfig for it.

Knows neither what the agent does nor what a kubeconfig is: ``relay_process.py`` and ``kubeconfig.py`` do.

    Node, kubeconfig --Relay--> kubeconfig that leads through the relay
"""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.bench.kubeconfig import proxied
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Node

NO_EXCEPTIONS: Final = {"NO_PROXY": "", "no_proxy": ""}
"""Of an agent's environment: what the machine reaches without a proxy, a namespace does not."""


class Relay:
    """Context manager: the relay runs, outside of the node's namespace and of its cgroup."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "ebpflb.bench.relay_process"]
        self._running = Running("relay", [*command, "--netns", str(namespace_path(self._node.netns))])
        try:
            line = self._running.wait_for_line(lambda line: line.startswith("listening "))
        except BaseException:
            self._running.stop()
            raise
        self._url = f"http://127.0.0.1:{line.split()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self._running.stop()

    def write_kubeconfig(self, original: Path, copy: Path) -> Path:
        """Write a kubeconfig that reaches the same API server from the node. Raises ``UsageError``."""
        text = proxied(original.read_text(encoding="utf-8"), original.resolve().parent, self._url)
        with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        return copy
