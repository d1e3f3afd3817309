"""Compiles what changed, and it alone: of the Services touched, what they were and what they are now.

Decides which changes it can follow; whatever is not local (``NotLocalError``) is left to ``compile_tables``, which
looks at everything, and which this always agrees with, ids included: a property test holds the two together. Knows two
states of the objects touched, and counts over all others; knows nothing of what the maps hold.

    compile_tables --Compiled, Basis--> Ledger.update(Changes, Snapshot, rows) --> Delta --> plan_of --> apply

What a Service contributes is a function of it, its slices and this node. So it is not stored: what it was is made
again from the objects as they were, and taken from the counts; what it is now is added.
"""

from collections.abc import Iterable, Iterator, Sequence

from ebpflb.core.changes import Changes, Present
from ebpflb.core.compile import Basis, Compiled
from ebpflb.core.delta import Delta, DeltaDraft
from ebpflb.core.expand import expand_service
from ebpflb.core.holdings import FullError, Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.ledger_rows import LedgerRows, Touched
from ebpflb.core.misread import in_order, misread
from ebpflb.core.model import EndpointSlice, ObjectKey, Service, Snapshot
from ebpflb.core.node_rows import NODE_TABLES, bounds_of, node_rows
from ebpflb.core.options import Options
from ebpflb.core.outlook import Outlook
from ebpflb.core.refusal import Refusal
from ebpflb.core.service_rows import Member, member_of
from ebpflb.core.tables import FrontendKey, Tables


class NotLocalError(Exception):
    """A change that concerns others than the Services touched. Nothing has been taken; the ledger is of no more use."""


class Ledger:
    """Follows a compilation. Its owner drops it when an update raises, or when the maps are not as it was told."""

    def __init__(self, compiled: Compiled, basis: Basis, snapshot: Snapshot, limits: Limits, options: Options) -> None:
        """Begin with what was compiled from ``snapshot``. Whoever had its allocation gives it up (``Stock``)."""
        family = compiled.tables.family
        self._family, self._options = family, options
        self._node, self._host, self._cidrs = snapshot.node, snapshot.host, snapshot.service_cidrs
        self._outlook = Outlook.of(snapshot, family, options)
        self._contested, self._claimed_twice = basis.contested, basis.claimed_twice
        self._misread = dict(basis.misread)
        self._bounds = bounds_of(compiled.tables.frontends)
        self._rows = LedgerRows(compiled, basis, limits, self._outlook.placement)

    @property
    def allocation(self) -> Allocation:
        """Every id and range in use or retired now. Its mappings change with the ledger."""
        return self._rows.stock.allocation()

    @property
    def slots_used(self) -> int:
        """How many slots are taken, retired ones and the padding to whole lines included."""
        return self._rows.stock.slots_used

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What of all Services is not programmed as their authors want it."""
        return (*self._claimed_twice, *in_order(self._misread.values()))

    def release(self, epoch: int) -> None:
        """Free what was retired up to and including ``epoch``."""
        self._rows.stock.release(epoch)

    def update(self, changes: Changes, snapshot: Snapshot, tables: Tables) -> Delta:
        """Return how the rows change; ``tables`` are those of before. Raises ``NotLocalError``.

        ``changes`` are all between the snapshot of before and this one.
        """
        if (self._node, self._host) != (snapshot.node, snapshot.host) and (
            Outlook.of(snapshot, self._family, self._options) != self._outlook
        ):
            raise NotLocalError
        touched = [self._touch(key, changes) for key in changes.touched()]
        self._check_claims(touched)
        draft = DeltaDraft(tables)
        try:
            self._rows.change(touched, draft, lambda key: self._members_now(key, changes.present))
        except FullError:
            raise NotLocalError from None
        for each in touched:
            self._read(each.key, changes.present.services.get(each.key))
        self._change_node_rows(snapshot, draft)
        return draft.finish()

    def _touch(self, key: ObjectKey, changes: Changes) -> Touched:
        was, slices = changes.service_before(key), changes.slices_before(key)
        return Touched(key, self._members(was, slices), self._members_now(key, changes.present))

    def _members_now(self, key: ObjectKey, present: Present) -> list[Member]:
        return self._members(present.services.get(key), present.slices_of(key))

    def _members(self, service: Service | None, slices: Sequence[EndpointSlice]) -> list[Member]:
        if service is None:
            return []
        exposures = expand_service(service, self._family, self._node, self._options)
        own = [each for each in slices if each.family is self._family]
        return [
            member_of(exposure, own, self._family, self._node)
            for exposure in sorted(exposures, key=lambda exposure: exposure.name)
        ]

    def _check_claims(self, touched: Sequence[Touched]) -> None:
        """Raise ``NotLocalError`` where another service port wants, or wanted, a frontend of these."""
        before = dict(_claims(member for each in touched for member in each.before))
        after: dict[FrontendKey, str] = {}
        for key, name in _claims(member for each in touched for member in each.after):
            holder = self._rows.stock.owners.get(key, name)
            is_free = holder == name or before.get(key) == holder
            if not is_free or after.setdefault(key, name) != name:
                raise NotLocalError
        if self._contested and not self._contested.isdisjoint((*before, *after)):
            raise NotLocalError

    def _read(self, key: ObjectKey, service: Service | None) -> None:
        found = () if service is None else tuple(misread(service, self._family, self._options))
        self._misread.pop(key, None)
        if found:
            self._misread[key] = found

    def _change_node_rows(self, snapshot: Snapshot, draft: DeltaDraft) -> None:
        """Make the node's own rows again if anything that they are made of has changed."""
        was = self._node, self._host, self._cidrs, self._bounds
        bounds = draft.bounds(self._bounds)
        now = snapshot.node, snapshot.host, snapshot.service_cidrs, bounds
        if now != was:
            self._node, self._host, self._cidrs, self._bounds = now
            rows = node_rows(snapshot, self._family, bounds, self._options)
            for table in NODE_TABLES:
                draft.replace(table, draft.tables.rows(table), rows.rows(table))


def _claims(members: Iterable[Member]) -> Iterator[tuple[FrontendKey, str]]:
    for member in members:
        for key, _ in member.exposure.claims:
            yield key, member.exposure.name
