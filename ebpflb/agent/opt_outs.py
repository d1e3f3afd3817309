"""Which pods the socket hooks shall leave alone, and how what is found of them joins the facts about the host.

Applies ``core``'s rules to Pods, and knows what stands in the way of all of them on this node. Must not know how a
network namespace is found.

    Pods --on_pods--> opt_out.cause --> OptOutWatcher --OptOutView--+--> Board
                                                                    +--> HostFacts --Host--> inbox
                                               netlink: Host -------+
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ebpflb.agent.config import AgentConfig
from ebpflb.core.model import Host, Pod
from ebpflb.core.opt_out import cause
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.host.opt_out_watcher import OnView, OptOutWatcher
from ebpflb.host.opt_outs import OptOutView


class OptOuts:
    """The opt-outs of one agent: hears of Pods, and runs what looks for their network namespaces."""

    def __init__(self, config: AgentConfig) -> None:
        self._runtime_classes = config.opt_out_runtime_classes
        self._watcher = OptOutWatcher(config.cgroup or Path("/"), config.socket_opt_outs, obstacle(config))

    def on_pods(self, pods: Iterable[Pod]) -> None:
        """Take all Pods of this node."""
        causes = {pod: cause(pod, self._runtime_classes) for pod in pods}
        self._watcher.want({pod.uid: f"pod {pod.namespace}/{pod.name} ({why})" for pod, why in causes.items() if why})

    def run(self, listeners: Sequence[OnView], stop: threading.Event) -> None:
        """Report to every listener until ``stop`` is set."""

        def tell(view: OptOutView) -> None:
            for listener in listeners:
                listener(view)

        self._watcher.run(tell, stop)


def obstacle(config: AgentConfig) -> str:
    """Return why nobody can be opted out on this node, and what to do about it; "" if somebody can."""
    if config.cgroup is None:
        return "there are no socket hooks to be left alone by; give --cgroup"
    if not config.pod_devices:
        return "the packet hooks serve no pod here, so the socket hooks go on; give --pod-devices"
    if netns_cookie() is None:
        return "this kernel has no SO_NETNS_COOKIE, so the socket hooks go on; use Linux 5.14 or later"
    return ""


class HostFacts:
    """Joins what two threads find out into one ``Host``, and holds it back until both have spoken.

    Without the opt-outs a restart would take the predecessor's out of the map, and sidecars would be passed by.
    """

    def __init__(self, deliver: Callable[[Host], None]) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()
        self._host: Host | None = None
        self._opt_outs: frozenset[int] | None = None

    def on_host(self, host: Host) -> None:
        """Take addresses and devices."""
        with self._lock:
            self._host = host
            self._pass_on()

    def on_opt_outs(self, view: OptOutView) -> None:
        """Take the network namespaces to be left alone."""
        with self._lock:
            self._opt_outs = view.cookies
            self._pass_on()

    def _pass_on(self) -> None:
        if self._host is not None and self._opt_outs is not None:
            self._deliver(replace(self._host, opt_outs=self._opt_outs))
