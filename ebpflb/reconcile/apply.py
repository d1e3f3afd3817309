"""The one interpreter of a ``Plan``, in its two ways: one that leaves what was believed alone, and one that changes it.

Decides what it costs: all rows, or those of the plan. What a failure forbids is ``application``'s to know.

    (Plan, actual Tables) --apply, apply_in_place--> store calls --> Applied(actual Tables, failures)
"""

from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, cast

from ebpflb.core.tables import Frontend, FrontendKey, Plan, Range, Slots, TableName, Tables
from ebpflb.reconcile.application import Application, Applied
from ebpflb.reconcile.ports import MapStore

__all__ = ["Applied", "apply", "apply_in_place"]


def apply(plan: Plan, store: MapStore, actual: Tables) -> Applied:
    """Perform ``plan`` over ``store``, whose maps hold ``actual``. Rows that fail are collected, the others go on."""
    application = Application(store, actual)
    application.perform(plan)
    return application.result()


def apply_in_place(plan: Plan, store: MapStore, actual: Tables, unnamed: Collection[Range]) -> Applied:
    """Perform ``plan`` as ``apply`` does, at its own cost alone: the mappings of ``actual`` become the result's.

    ``actual`` is given up by whoever had it, its mappings can be changed, and its ranges those that frontends name.
    ``unnamed``: those of them that none names after the plan.
    """
    application = _InPlace(store, actual, unnamed)
    application.perform(plan)
    return application.result()


class _InPlace(Application):
    """A plan that changes few of very many rows, none of which is copied."""

    def __init__(self, store: MapStore, actual: Tables, unnamed: Collection[Range]) -> None:
        super().__init__(store, Tables(actual.family))
        self._own = {table: cast("MutableMapping[Any, Any]", actual.rows(table)) for table in TableName}
        self._changed = dict(self._own)
        self._slots = cast("dict[Range, Slots]", actual.slots)
        self._unnamed = unnamed

    def _forget_overwritten(self, offsets: Collection[int]) -> None:
        """Nothing is: what comes into use was not, and of other ranges nothing is known."""

    def _named(self, frontends: Mapping[FrontendKey, Frontend]) -> dict[Range, Slots]:
        if self._failures:
            return super()._named(frontends)
        for span in self._unnamed:
            self._slots.pop(span, None)
        return self._slots
