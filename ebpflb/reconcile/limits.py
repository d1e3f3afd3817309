"""Decides how much of each map a compilation may use. Knows capacities, and how plans pass from one state to the next.

MapStore --limits_of--> Limits --> compile
"""

from ebpflb.core.holdings import Limits
from ebpflb.core.tables import TableName
from ebpflb.reconcile.ports import MapStore


def limits_of(store: MapStore) -> Limits:
    """Return what the store has room for.

    A Service's new members come before its old ones go, and its frontends wait for them: a sixteenth stays free.
    """
    members = store.capacity(TableName.MEMBERS)
    return Limits(
        frontends=store.capacity(TableName.FRONTENDS),
        backends=store.capacity(TableName.BACKENDS),
        services=store.capacity(TableName.SERVICES),
        slots=store.slot_capacity(),
        members=members - members // 16,
    )
