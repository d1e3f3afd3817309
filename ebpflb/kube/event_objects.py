"""What an Event of the API looks like, and where it and the object that it is about are found.

Decides names, paths and fields. Knows no connection and no clock.

    Incident, when, uid --event_object--> JSON of events.k8s.io/v1
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

CONTROLLER = "ebpflb"
MAX_NOTE_BYTES = 1024
"""What the API server takes."""

_EVENTS: Final = "/apis/events.k8s.io/v1/namespaces"
_NODES_NAMESPACE: Final = "default"
"""Where events of objects without a namespace go."""
_COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "Service": ("v1", "services"),
    "Pod": ("v1", "pods"),
    "Node": ("v1", "nodes"),
    "EndpointSlice": ("discovery.k8s.io/v1", "endpointslices"),
    "ServiceCIDR": ("networking.k8s.io/v1", "servicecidrs"),
}
_ACTIONS: Final[Mapping[str, str]] = {
    "Starting": "StartProxy",
    "FailedToStartServiceHealthcheck": "Listen",
    "FailedToStartProxierHealthcheck": "Listen",
    "KubeProxyIncorrectIPVersion": "GatherEndpoints",
}
_DEFAULT_ACTION: Final = "ProgramService"


@dataclass(frozen=True, slots=True)
class Incident:
    """What is told: equal ones are repeats of each other."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    is_warning: bool


def events_path(incident: Incident, name: str = "") -> str:
    """Return where its Event is created, or where the one of this name is changed."""
    path = f"{_EVENTS}/{incident.namespace or _NODES_NAMESPACE}/events"
    return f"{path}/{name}" if name else path


def object_path(incident: Incident) -> str:
    """Return where the object is, whose UID ``kubectl describe`` looks for; "" where a UID is not asked for."""
    if incident.kind == "Node" or incident.kind not in _COLLECTIONS:
        return ""
    version, collection = _COLLECTIONS[incident.kind]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{incident.namespace}" if incident.namespace else ""
    return f"{root}{scope}/{collection}/{incident.name}"


def event_object(incident: Incident, name: str, uid: str, node_name: str, when: datetime) -> dict[str, Any]:
    """Return the Event. That of a Node names it instead of a UID, as kubelet's and kube-proxy's do."""
    regarding = {
        "apiVersion": _COLLECTIONS.get(incident.kind, ("v1", ""))[0],
        "kind": incident.kind,
        "name": incident.name,
        "namespace": incident.namespace,
        "uid": incident.name if incident.kind == "Node" else uid,
    }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": incident.namespace or _NODES_NAMESPACE},
        "eventTime": micro_time(when),
        "reportingController": CONTROLLER,
        "reportingInstance": node_name,
        "action": _ACTIONS.get(incident.reason, _DEFAULT_ACTION),
        "reason": incident.reason,
        "regarding": {key: value for key, value in regarding.items() if value},
        "note": _cut(incident.message),
        "type": "Warning" if incident.is_warning else "Normal",
    }


def repetition(count: int, when: datetime) -> dict[str, Any]:
    """Return the change of an Event that says how often it happened, and when the last time."""
    return {"series": {"count": count, "lastObservedTime": micro_time(when)}}


def micro_time(when: datetime) -> str:
    """Return a moment, given in UTC, in the API's format."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cut(note: str) -> str:
    raw = note.encode(errors="replace")
    return note if len(raw) <= MAX_NOTE_BYTES else raw[: MAX_NOTE_BYTES - 3].decode(errors="ignore") + "..."
