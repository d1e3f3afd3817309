"""What an API server remembers: objects, their history with versions, and which of it has been compacted away.

put/delete --> objects + history --> list at a version | events since a version, seen through a selector
"""

import copy
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]

COLLECTIONS: Mapping[str, str] = {
    "services": "Service",
    "endpointslices": "EndpointSlice",
    "nodes": "Node",
    "servicecidrs": "ServiceCIDR",
    "pods": "Pod",
    "namespaces": "Namespace",
    "events": "Event",
}


class ExpiredVersionError(Exception):
    """The history before this version is gone."""


@dataclass(frozen=True)
class Change:
    """One write: the object before and after it (``None``: did not, does not exist)."""

    version: int
    collection: str
    before: Object | None
    after: Object | None


@dataclass(frozen=True)
class Selector:
    """``labelSelector`` (existence and equality) and ``fieldSelector`` (two fields), as the agent uses them."""

    labels: str = ""
    fields: str = ""

    def matches(self, obj: Object | None) -> bool:
        if obj is None:
            return False
        labels = obj["metadata"].get("labels") or {}
        for term in filter(None, self.labels.split(",")):
            key, equals, value = term.lstrip("!").partition("=")
            present = labels.get(key) == value if equals else key in labels
            if present == term.startswith("!"):
                return False
        for term in filter(None, self.fields.split(",")):
            found = re.fullmatch(r"(metadata\.name|spec\.nodeName)=(.+)", term)
            assert found, f"unsupported field selector {term}"
            part, _, name = found[1].partition(".")
            if obj[part].get(name) != found[2]:
                return False
        return True


class Store:
    """Thread-safe; ``changed`` is notified at every write and every order to a stream."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 100
        self.oldest = 100
        self._objects: dict[str, dict[Key, Object]] = {collection: {} for collection in COLLECTIONS}
        self._history: list[Change] = []

    def put(self, collection: str, obj: Object) -> int:
        stored = copy.deepcopy(obj)
        key = (stored["metadata"].get("namespace", ""), stored["metadata"]["name"])
        with self.changed:
            self.version += 1
            stored["metadata"]["resourceVersion"] = str(self.version)
            before = self._objects[collection].get(key)
            self._objects[collection][key] = stored
            self._record(collection, before, stored)
            return self.version

    def get(self, collection: str, key: Key) -> Object | None:
        with self.changed:
            return self._objects[collection].get(key)

    def delete(self, collection: str, key: Key) -> bool:
        with self.changed:
            before = self._objects[collection].pop(key, None)
            if before is None:
                return False
            self.version += 1
            self._record(collection, before, None)
            return True

    def every(self, collection: str) -> list[Object]:
        """Return all objects of a collection."""
        return self.select(collection, Selector())

    def delete_namespaced(self, namespace: str) -> None:
        """Delete everything in a namespace."""
        with self.changed:
            keys = [
                (collection, key)
                for collection, objects in self._objects.items()
                for key in objects
                if key[0] == namespace
            ]
            for collection, key in keys:
                self.delete(collection, key)

    def _record(self, collection: str, before: Object | None, after: Object | None) -> None:
        self._history.append(Change(self.version, collection, before, after))
        self.changed.notify_all()

    def compact(self) -> None:
        """Forget the history: versions before the present one are expired."""
        with self.changed:
            self.oldest = self.version
            self._history.clear()
            self.changed.notify_all()

    def select(self, collection: str, selector: Selector, namespace: str = "") -> list[Object]:
        with self.changed:
            objects = self._objects[collection]
            keys = [key for key in sorted(objects) if namespace in {"", key[0]}]
            return [objects[key] for key in keys if selector.matches(objects[key])]

    def events(self, collection: str, selector: Selector, since: int) -> list[tuple[int, str, Object]]:
        """Return (version, type, object): a label that appears looks like a deletion, as in the real one."""
        with self.changed:
            if since < self.oldest:
                raise ExpiredVersionError
            changes = [change for change in self._history if change.collection == collection and change.version > since]
        events = []
        for change in changes:
            was, is_ = selector.matches(change.before), selector.matches(change.after)
            if is_ and change.after is not None:
                events.append((change.version, "MODIFIED" if was else "ADDED", change.after))
            elif was and change.before is not None:
                gone = copy.deepcopy(change.before)
                gone["metadata"]["resourceVersion"] = str(change.version)
                events.append((change.version, "DELETED", gone))
        return events
