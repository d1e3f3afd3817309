"""Maps as the kernel holds them, for tests of plans: rows by table, and one flat array of slots."""

from typing import Any

import numpy as np

from ebpflb.core.abi import BackendState, Family, FrontendKind
from ebpflb.core.tables import Delete, Frontend, Plan, Put, Range, Slots, Step, TableName, Tables, WriteSlots


class Maps:
    """What a plan acts on. Slots that no plan wrote hold an id that no backend ever has."""

    def __init__(self, family: Family, slots: int) -> None:
        self.family = family
        self.rows: dict[TableName, dict[Any, Any]] = {table: {} for table in TableName}
        self.slots: Slots = np.full(slots, 0xFFFFFFFF, dtype=np.uint32)

    def step(self, step: Step) -> None:
        match step:
            case Put(table, rows):
                self.rows[table].update(rows)
            case Delete(table, keys):
                for key in keys:
                    del self.rows[table][key]
            case WriteSlots(ranges):
                for where, contents in ranges.items():
                    assert len(contents) == where.length
                    self.slots[where.offset : where.offset + where.length] = contents

    def apply(self, plan: Plan) -> None:
        for step in plan.steps:
            self.step(step)
            self.assert_safe()

    def assert_safe(self) -> None:
        """Every frontend names only slots whose backends take new flows, and a service; packets sent whole arrive."""
        backends = self.rows[TableName.BACKENDS].items()
        alive = {number for number, backend in backends if backend.state is BackendState.ACTIVE}
        assert set(self.rows[TableName.LOCAL_BACKENDS].values()) <= self.rows[TableName.BACKENDS].keys()
        for key, frontend in self.rows[TableName.FRONTENDS].items():
            if frontend.kind is FrontendKind.ADDRESS:
                assert (frontend.cluster, frontend.local, frontend.service_id) == ((0, 0), (0, 0), 0)
                continue
            assert frontend.service_id in self.rows[TableName.SERVICES], key
            for where in (frontend.cluster, frontend.local):
                assert alive.issuperset(self.at(where).tolist()), (key, where)

    def at(self, where: Range) -> Slots:
        return self.slots[where.offset : where.offset + where.length].copy()

    def read(self) -> Tables:
        """Read everything back, as a map store does: contents of each range that a frontend names."""
        frontends: dict[Any, Frontend] = self.rows[TableName.FRONTENDS]
        named = {where for frontend in frontends.values() for where in (frontend.cluster, frontend.local)}
        return Tables(
            family=self.family,
            **{table.value: dict(rows) for table, rows in self.rows.items()},
            slots={where: self.at(where) for where in named if where.length},
        )
