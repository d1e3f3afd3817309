"""Decides how much of each map a compilation may use. Knows capacities, and how plans pass from one state to the next.

MapStore --limits_of--> Limits --> compile
"""

from ebpflb.core.holdings import Limits
from ebpflb.core.tables import TableName
from ebpflb.reconcile.ports import MapStore


def limits_of(store: MapStore) -> Limits:
    """Return what the store has room for.

    What names a service port (its members, say) is written before the frontends change, and removed afterwards: of
    those maps a sixteenth stays free.
    """

    def with_spare(table: TableName) -> int:
        capacity = store.capacity(table)
        return capacity - capacity // 16

    return Limits(
        frontends=store.capacity(TableName.FRONTENDS),
        backends=store.capacity(TableName.BACKENDS),
        services=store.capacity(TableName.SERVICES),
        slots=store.slot_capacity(),
        members=with_spare(TableName.MEMBERS),
        local_backends=with_spare(TableName.LOCAL_BACKENDS),
        source_ranges=with_spare(TableName.SOURCE_RANGES),
    )
