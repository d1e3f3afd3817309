"""What a batch of changes is, and how it is known what changed since the last one.

Decides what counts as changed, and what can wait for no other change. Must not know when a batch is complete, nor what
becomes of it.

    objects of a kind, keys touched --Followed.take--> what the batch holds of them, Difference to the last one
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ebpflb.core.changes import Changes, Difference, Present, service_key
from ebpflb.core.endpoints import addresses_in
from ebpflb.core.kept import Unread
from ebpflb.core.model import EndpointSlice, ObjectKey, Snapshot
from ebpflb.errors import ObjectError


@dataclass(frozen=True, slots=True)
class Batch:
    """What a compilation is made of."""

    snapshot: Snapshot
    """Its mappings are those of the present: they change with the next batch."""
    changes: Changes
    """Which Services and slices are not as in the batch before, and as what."""
    unread: Unread
    """What is not in the snapshot, and may exist all the same."""
    first_change_at: datetime
    last_change_at: datetime
    """When the oldest and the newest change in it arrived."""


class Followed:
    """The objects of a kind as the last batch had them. Whoever takes batches reads them, in one thread."""

    def __init__(self, objects: Mapping[ObjectKey, Any]) -> None:
        self.taken: dict[ObjectKey, Any] = {}
        self.touched: dict[ObjectKey, None] = {}
        """Those that may be others now, in the order in which they came: neighbours in a list are neighbours in memory,
        and whoever walks through 50,000 of them in any other order waits for memory at each."""
        self._objects = objects

    def take(self) -> Difference[Any]:
        """Bring ``taken`` up to date, and return what that changes."""
        before: dict[ObjectKey, Any] = {}
        after: dict[ObjectKey, Any] = {}
        for key in self.touched:
            was, now = self.taken.get(key), self._objects.get(key)
            if now is None:
                self.taken.pop(key, None)
            else:
                self.taken[key] = now
            if was == now:
                continue
            if was is not None:
                before[key] = was
            if now is not None:
                after[key] = now
        self.touched.clear()
        return Difference(before, after)


def replace_all(held: dict[ObjectKey, Any], listed: Mapping[ObjectKey, Any]) -> list[ObjectKey]:
    """Have the objects of a list in place of those held; return the keys of those that are gone, new or different.

    What is equal stays the same object: others have it, and it shall not be there twice. The order is that of the list.
    """
    changed = [key for key in held if key not in listed]
    for key in changed:
        del held[key]
    for key, obj in listed.items():
        if held.get(key) != obj:
            held[key] = obj
            changed.append(key)
    return changed


def key_of(error: ObjectError) -> ObjectKey:
    """Return the key of the object that an error names: ``namespace/name``, or ``name`` for a Node."""
    namespace, _, name = error.name.rpartition("/")
    return namespace, name


def can_go_at_once(known: Any, obj: Any, present: Present | None) -> bool:
    """Return whether an object need not wait for what its source may say a moment later.

    That is a slice that lists what it listed, and maybe more: conditions may have changed, those are urgent. Given
    what is ``present``, it is also the only slice of its Service and family: what it takes away has no other to move
    to but a new one, and who makes slices makes the new ones first.
    """
    if not isinstance(obj, EndpointSlice) or not isinstance(known, EndpointSlice):
        return False
    if known.ports == obj.ports and set(addresses_in(known.endpoints)).issubset(addresses_in(obj.endpoints)):
        return True
    return present is not None and service_key(known) == service_key(obj) and _is_only_one(obj, present)


def _is_only_one(obj: EndpointSlice, present: Present) -> bool:
    return all(each.key == obj.key or each.family is not obj.family for each in present.slices_of(service_key(obj)))
