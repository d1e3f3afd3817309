"""Decides how the rows of all change when some Services do, from counts of who uses what.

Knows what Services were and are, as Members; knows nothing of the objects behind them, nor whose claim is whose.

    Touched Services --LedgerRows.change--> ids and ranges taken and retired, counts --> rows put and removed
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ebpflb.core.abi import BackendFlag, BackendState
from ebpflb.core.addresses import AddressTally
from ebpflb.core.compile import Basis, Compiled
from ebpflb.core.delta import DeltaDraft
from ebpflb.core.holdings import FullError, Limits
from ebpflb.core.model import ObjectKey
from ebpflb.core.namings import NAMING_TABLES, Namings
from ebpflb.core.placement import Placement
from ebpflb.core.room import limits_by_table
from ebpflb.core.service_rows import Member, frontend_rows, naming_rows, need_of
from ebpflb.core.stock import Stock
from ebpflb.core.tables import Backend, BackendKey, Frontend, FrontendKey, TableName
from ebpflb.core.uses import Tally, Uses, leaving_of, minus, plus, state_of, uses_of


class Touched(NamedTuple):
    """A Service of which something changed: its ports, in the order of their names."""

    key: ObjectKey
    before: Sequence[Member]
    after: Sequence[Member]


class LedgerRows:
    """Ids, ranges and counts of all Services."""

    def __init__(self, compiled: Compiled, basis: Basis, limits: Limits, placement: Placement) -> None:
        frontends = compiled.tables.frontends
        self._placement = placement
        self._limits = limits_by_table(limits)
        self._used = dict(basis.used)
        self._addresses = AddressTally(frontends, placement.addresses)
        self.stock = Stock(compiled.allocation, limits, frontends.values())
        self._namings = Namings(compiled.tables, compiled.allocation.services, basis.named)
        self._tally = Tally(basis.uses, self.stock.backends)

    def change(
        self, touched: Sequence[Touched], draft: DeltaDraft, members_of: Callable[[ObjectKey], Sequence[Member]]
    ) -> None:
        """Put and remove rows. Raises ``FullError`` before anything is done; ``members_of`` others is asked for."""
        used = self._room_after(touched)
        before = self._uses(touched)
        rows = self._take(touched)
        self._used = used
        self._change_frontends(touched, rows, draft)
        self._change_services(touched, draft)
        moved = self._change_backends(before, touched, draft)
        for each in touched:
            self._namings.list(each.key, each.before, each.after)
            self._name_anew(each.key, each.after, draft)
        for key in self._namings.whose(moved) - {each.key for each in touched}:
            self._name_anew(key, members_of(key), draft)

    def _room_after(self, touched: Iterable[Touched]) -> dict[TableName, int]:
        """Return how many rows will be taken. Raises ``FullError`` where it is not certain that all fit."""
        used = dict(self._used)
        addresses = len(self._addresses)
        for each in touched:
            was, now = need_of(each.before, self._placement), need_of(each.after, self._placement)
            addresses += len(now.addresses - was.addresses)
            for table in used:
                used[table] += now.rows[table] - was.rows[table]
        for table, limit in self._limits.items():
            if used[table] + (addresses if table is TableName.FRONTENDS else 0) > limit:
                raise FullError(table, limit)
        return used

    def _take(self, touched: Iterable[Touched]) -> dict[FrontendKey, Frontend]:
        """Return the frontends, with all ids and ranges that they, and backends that finish their flows, need.

        In the order of a whole compilation: Services already programmed come first.
        """
        services = self.stock.services
        self.stock.begin()

        def order(each: Touched) -> tuple[bool, ObjectKey]:
            return not any(member.exposure.name in services for member in each.after), each.key

        rows: dict[FrontendKey, Frontend] = {}
        try:
            in_order = [member for each in sorted(touched, key=order) for member in each.after]
            for member in in_order:
                rows |= frontend_rows(member, self.stock)
            for member in in_order:
                for key in leaving_of(member, self._placement.is_here):
                    self.stock.backend_id(key)
        except FullError:
            self.stock.undo()
            raise
        return rows

    def _change_frontends(
        self, touched: Iterable[Touched], rows: Mapping[FrontendKey, Frontend], draft: DeltaDraft
    ) -> None:
        known = draft.tables.frontends
        before = {key: known[key] for each in touched for key in _claimed(each.before) if rows.get(key) != known[key]}
        after = {key: row for key, row in rows.items() if known.get(key) != row}
        draft.replace(TableName.FRONTENDS, before, after)
        for key in before:
            del self.stock.owners[key]
        for each in touched:
            for member in each.after:
                self.stock.owners.update((key, member.exposure.name) for key, _ in member.exposure.claims)
        for key, row in self._addresses.change(before, after).items():
            if row is None:
                draft.remove(TableName.FRONTENDS, key)
            else:
                draft.put(TableName.FRONTENDS, key, row)
        draft.unnamed = self.stock.renamed(before.values(), after.values())
        draft.written = self.stock.new_ranges

    def _change_services(self, touched: Iterable[Touched], draft: DeltaDraft) -> None:
        for service_id, name in self.stock.new_services.items():
            draft.put(TableName.SERVICES, service_id, name)
        for each in touched:
            for name in _names(each.before) - _names(each.after):
                draft.remove(TableName.SERVICES, self.stock.retire_service(name))

    def _uses(self, touched: Iterable[Touched]) -> dict[BackendKey, Uses]:
        """Return the present uses of all backends concerned."""
        members = (member for each in touched for member in (*each.before, *each.after))
        return {candidate.key: self._tally.of(candidate.key) for member in members for candidate in member.candidates}

    def _change_backends(
        self, before: Mapping[BackendKey, Uses], touched: Iterable[Touched], draft: DeltaDraft
    ) -> list[BackendKey]:
        """Return the backends whose rows come or go."""
        uses = dict(before)
        for each in touched:
            for key, count in uses_of(each.after, self._placement.is_here).items():
                uses[key] = plus(uses[key], count)
            for key, count in uses_of(each.before, self._placement.is_here).items():
                uses[key] = minus(uses[key], count)
        moved = list(self.stock.new_backends)
        for key, count in uses.items():
            place = self.stock.backends.get(key)
            state = state_of(count, had_row=place is not None)
            self._tally.set(key, count)
            if place is not None and state is BackendState.NONE:
                draft.remove(TableName.BACKENDS, self.stock.retire_backend(key))
                moved.append(key)
            elif place is not None:
                is_here = bool(count.local) or self._placement.is_here(key.address)
                flags = BackendFlag.LOCAL if is_here else BackendFlag(0)
                draft.put(TableName.BACKENDS, place.backend_id, Backend(key, state, flags, place.generation))
        return moved

    def _name_anew(self, service: ObjectKey, members: Sequence[Member], draft: DeltaDraft) -> None:
        """Make the rows of a Service again that name backends, or that nobody but its frontends needs."""
        was = self._namings.rows_of(service)
        now = naming_rows(members, self.stock.services, self.stock.backends, self._placement)
        self._namings.keep(service, now)
        for place, table in enumerate(NAMING_TABLES):
            draft.replace(table, was[place], now[place])


def _claimed(members: Iterable[Member]) -> list[FrontendKey]:
    return [key for member in members for key, _ in member.exposure.claims]


def _names(members: Iterable[Member]) -> set[str]:
    return {member.exposure.name for member in members}
