"""Decides which pods the socket hooks leave alone, so that the packet hooks serve them.

A sidecar that intercepts connections must see the Service's address, which a socket hook would already have replaced.
A sandbox with a network stack of its own has sockets that no hook of the host sees whole. Knows what a pod says of
itself; knows nothing of processes and network namespaces.

    Pod, runtime classes --cause--> why it is opted out, or "" --> host
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from ebpflb.core.model import Pod

SOCKET_LB_ANNOTATION = "ebpflb.io/socket-lb"

INTERCEPTED: Mapping[str, str] = {
    "sidecar.istio.io/status": "",
    "ambient.istio.io/redirection": "enabled",
    "linkerd.io/proxy-version": "",
}
"""Annotations that a mesh leaves on a pod whose connections it intercepts, with the value that says so ("": any)."""

RUNTIME_CLASSES = ("gvisor", "runsc", "kata*")
"""Glob patterns: the usual names of RuntimeClasses whose containers bring a network stack of their own."""


def interceptor(annotations: Mapping[str, str]) -> str:
    """Return the annotation that says that a mesh intercepts the pod's connections, "" if none does."""
    for name, wanted in INTERCEPTED.items():
        if name in annotations and wanted in {"", annotations[name]}:
            return name
    return ""


def cause(pod: Pod, runtime_classes: Iterable[str]) -> str:
    """Return the field for which a pod is opted out, "" if it is not. What the pod says itself goes before guesses.

    A pod on the host's network is never opted out: its network namespace is the node's.
    """
    if pod.host_network or pod.socket_lb:
        return ""
    if pod.socket_lb is False:
        return SOCKET_LB_ANNOTATION
    if pod.interceptor:
        return pod.interceptor
    if any(fnmatchcase(pod.runtime_class, pattern) for pattern in runtime_classes):
        return f"runtimeClassName {pod.runtime_class}"
    return ""
