"""Decides what of a Pod matters: how to find its processes, and what it says about the socket hooks.

Knows no other pod; whether the pod is opted out is decided in ``opt_out.py``.

RawPod --> Pod | Invisible, or FieldError
"""

from ebpflb.core import fields
from ebpflb.core.decode import FieldError
from ebpflb.core.metadata import Invisible, object_key
from ebpflb.core.model import Pod
from ebpflb.core.opt_out import SOCKET_LB_ANNOTATION, interceptor
from ebpflb.core.schema import RawPod, RawPodMetadata, RawPodSpec

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
"""Of a static pod's mirror, which is what the API server shows: the UID by which kubelet names the static pod's cgroup.

On any other pod it is a lie: kubelet removes such a pod, and it cannot be used to speak for a neighbour.
"""

_SWITCH: dict[str, bool | None] = {"": None, "true": True, "false": False}
_OVER = frozenset({"Succeeded", "Failed"})


def read_pod(raw: RawPod) -> Pod | Invisible:
    """Return the Pod, or why it has no processes on any node."""
    metadata, spec = raw.metadata or RawPodMetadata(), raw.spec or RawPodSpec()
    namespace, name = object_key(metadata)
    phase = (raw.status.phase if raw.status else None) or ""
    if phase in _OVER or not spec.node_name:
        return Invisible("Pod", namespace, name, f"its phase is {phase}" if phase in _OVER else "it is on no node")
    annotations = metadata.annotations or {}
    path = f"metadata.annotations[{SOCKET_LB_ANNOTATION}]"
    socket_lb = fields.word(path, annotations.get(SOCKET_LB_ANNOTATION), _SWITCH)
    if socket_lb is False and spec.host_network:
        problem = "has no effect with spec.hostNetwork: the pod's network namespace is the node's"
        raise FieldError(path, problem, "remove the annotation, or give the pod a network of its own")
    return Pod(
        namespace,
        name,
        uid=_uid(annotations.get(MIRROR_ANNOTATION) or metadata.uid),
        node_name=spec.node_name,
        host_network=bool(spec.host_network),
        socket_lb=socket_lb,
        interceptor=interceptor(annotations),
        runtime_class=_runtime_class(spec.runtime_class_name),
    )


def _runtime_class(name: str | None) -> str:
    return fields.object_name("spec.runtimeClassName", name) if name else ""


def _uid(value: str | None) -> str:
    if not value:
        raise FieldError("metadata.uid", "is missing", "give the UID that `kubectl get pod -o yaml` shows")
    return value
