"""When an agent must be started anew: other contents of its configuration file, a Node that is not the one it met.

kube-proxy ends in the same cases, and its DaemonSet starts it again; traffic goes on meanwhile. Stands between the
source and the inbox, and passes everything on; only in mode NodeCIDR the Node waits here until it has its podCIDRs, as
nothing can be programmed before. Must not know what any of it is used for.

    Source --> NodeGuard (a Sink) --> Inbox        NodeGuard, configuration file --reason--> RestartError
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

from ebpflb.agent.config import AgentConfig
from ebpflb.core.model import Host, Node, ObjectKey, family_of, format_address
from ebpflb.core.options import DetectLocal
from ebpflb.errors import EbpflbError, ObjectError
from ebpflb.files.config_file import watch_config_file
from ebpflb.reconcile.ports import Kind, ModelObject, Sink

POD_CIDRS_WAIT_S: Final = 300.0
"""As long as kube-proxy."""
_REMEDY: Final = "start the agent again, as a DaemonSet does; traffic goes on"


class RestartError(EbpflbError):
    """The agent ends so that another one starts from what is there now."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, remedy=_REMEDY)


class Restart:
    """Keeps the first reason, and ends the agent for it."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._reason = ""
        self._is_over = False
        self._awaited = ""

    def demand(self, reason: str) -> None:
        """Have ``run`` end the agent."""
        with self._news:
            self._reason = self._reason or reason
            self._news.notify_all()

    @property
    def is_demanded(self) -> bool:
        """Whether the agent is about to end."""
        return bool(self._reason)

    def await_arrival(self, what: str) -> None:
        """Have ``run`` wait for something, and not for long."""
        self._awaited = what

    def arrived(self) -> None:
        """Say that it is there."""
        with self._news:
            self._awaited = ""
            self._news.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Wait until ``stop`` is set. Raises ``RestartError`` on demand, ``EbpflbError`` for what did not arrive."""
        threading.Thread(target=self._end_at, args=(stop,), name="restart-stop", daemon=True).start()
        with self._news:
            awaited = self._awaited
            if not self._news.wait_for(lambda: self._is_done or not self._awaited, POD_CIDRS_WAIT_S):
                raise EbpflbError(
                    f"{awaited} are missing after {POD_CIDRS_WAIT_S:.0f} s",
                    remedy="have kube-controller-manager allocate them (--allocate-node-cidrs), or choose another "
                    "detectLocalMode",
                )
            self._news.wait_for(lambda: self._is_done)
            if self._reason:
                raise RestartError(self._reason)

    @property
    def _is_done(self) -> bool:
        return bool(self._reason) or self._is_over

    def _end_at(self, stop: threading.Event) -> None:
        stop.wait()
        with self._news:
            self._is_over = True
            self._news.notify_all()


def restart_parts(config: AgentConfig, restart: Restart) -> dict[str, Callable[[threading.Event], None]]:
    """Return what must run beside the agent's other parts, by the names of their threads."""
    path = config.config_file
    if path is None:
        return {"restart": restart.run}

    def watch(stop: threading.Event) -> None:
        if watch_config_file(path, config.config_bytes, stop):
            restart.demand(f"the configuration file {path} has changed")
        stop.wait()

    return {"restart": restart.run, "configuration": watch}


class NodeGuard:
    """A ``Sink`` that looks at the own Node on its way to another one."""

    def __init__(self, sink: Sink, config: AgentConfig, restart: Restart) -> None:
        self._sink = sink
        self._node_name = config.node_name
        self._restart = restart
        self._needs_pod_cidrs = config.options.detect_local is DetectLocal.NODE_CIDR
        self._is_known = False
        self._addresses: dict[int, bytes] = {}
        self._pod_cidrs: tuple[str, ...] = ()
        if self._needs_pod_cidrs:
            restart.await_arrival(f"Node {config.node_name}: its podCIDRs")

    def replace(self, kind: Kind, objects: Iterable[ModelObject], refused: Iterable[ObjectError] = ()) -> None:
        """Pass on a list, with a look at the Node in it."""
        if kind is not Kind.NODE:
            self._sink.replace(kind, objects, refused)
            return
        nodes, errors = list(objects), list(refused)
        own = [node for node in nodes if isinstance(node, Node) and node.name == self._node_name]
        if own:
            self._look_at(own[0])
        elif not errors:
            self._lost()
        if self._may_pass():
            self._sink.replace(kind, nodes, errors)
        else:
            for error in errors:
                self._sink.refuse(kind, ("", error.name), error)

    def upsert(self, kind: Kind, obj: ModelObject) -> None:
        """Pass on an object, with a look at the Node."""
        if isinstance(obj, Node):
            self._look_at(obj)
            if not self._may_pass():
                return
        self._sink.upsert(kind, obj)

    def delete(self, kind: Kind, key: ObjectKey) -> None:
        """Pass on a deletion; that of the Node ends the agent."""
        if kind is Kind.NODE and key == ("", self._node_name):
            self._lost()
            if not self._may_pass():
                return
        self._sink.delete(kind, key)

    def refuse(self, kind: Kind, key: ObjectKey, error: ObjectError) -> None:
        """Pass on a refusal."""
        self._sink.refuse(kind, key, error)

    def incomplete(self, *, is_incomplete: bool) -> None:
        """Pass on whether something could not be read."""
        self._sink.incomplete(is_incomplete=is_incomplete)

    def together(self) -> AbstractContextManager[None]:
        """Pass on that what is said in the block is one."""
        return self._sink.together()

    def host(self, host: Host) -> None:
        """Pass on what netlink says."""
        self._sink.host(host)

    def source_error(self, message: str) -> None:
        """Pass on why the source is not up to date."""
        self._sink.source_error(message)

    def _may_pass(self) -> bool:
        """Return whether the Node is news for this agent: of one that ends, the next one hears."""
        return not self._restart.is_demanded and (bool(self._pod_cidrs) or not self._needs_pod_cidrs)

    def _look_at(self, node: Node) -> None:
        if node == Node(node.name):  # what a folder delivers in place of a Node that is not in it
            self._lost()
            return
        self._is_known = True
        self._look_at_addresses(node)
        if self._needs_pod_cidrs:
            self._look_at_pod_cidrs(node)

    def _lost(self) -> None:
        if self._is_known:
            self._restart.demand(f"Node {self._node_name} is gone")

    def _look_at_addresses(self, node: Node) -> None:
        found = {family_of(each).value: each for each in reversed(node.addresses)}
        if found and self._addresses and found != self._addresses:
            before, after = (_in_words(each.values()) for each in (self._addresses, found))
            self._restart.demand(f"the addresses of Node {node.name} have changed from {before} to {after}")
        self._addresses = self._addresses or found

    def _look_at_pod_cidrs(self, node: Node) -> None:
        if self._pod_cidrs and node.pod_cidrs != self._pod_cidrs:
            before, after = (",".join(each) or "none" for each in (self._pod_cidrs, node.pod_cidrs))
            self._restart.demand(f"the podCIDRs of Node {node.name} have changed from {before} to {after}")
        elif node.pod_cidrs and not self._pod_cidrs:
            self._pod_cidrs = node.pod_cidrs
            self._restart.arrived()


def _in_words(addresses: Iterable[bytes]) -> str:
    return ",".join(sorted(map(format_address, addresses)))
