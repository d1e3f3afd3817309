"""What a hook must do with a packet, and what is found out on the way there.

    Work (packet, changes of rows, counts) --> Decision (act, flow, changes, counts)

Holds no rule but how changes lie over the world's rows.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from ebpflb.core.abi import Counter
from tests.fuzz.packet import Packet
from tests.fuzz.rows import Affinity, Datagram, Flow, FlowKey, Hook, Route, World

Row = Flow | Datagram | Affinity | bytes
Changes = dict[tuple[str, bytes], Row | None]
"""By map and key; None: the row is gone."""


class Act(IntEnum):
    """What becomes of a packet."""

    PASS = 0
    DELIVER = 1
    FORWARD = 2
    HAIRPIN = 3
    REJECT = 4
    TOO_BIG = 5
    EXPIRED = 6
    ECHO_ANSWER = 7
    DROP = 8


ANSWERS = frozenset({Act.REJECT, Act.TOO_BIG, Act.EXPIRED, Act.ECHO_ANSWER})


@dataclass(slots=True)
class Work:
    """One packet on its way through a hook."""

    world: World
    hook: Hook
    packet: Packet
    device: int
    """Where it shows up: by which it came in, or by which it is about to leave."""
    changes: Changes = field(default_factory=dict)
    counts: list[Counter] = field(default_factory=list)
    takes_any_port: bool = False
    """The source port of its own is taken: the request that it opens gets another one."""

    def flow(self, table: str, key: FlowKey) -> Flow | None:
        """Return a row of ``flows`` or ``pending``, as this packet has left it."""
        if self.changes and (table, key) in self.changes:
            row = self.changes[table, key]
            assert row is None or isinstance(row, Flow)
            return row
        rows = self.world.flows if table == "flows" else self.world.pending
        return rows.get(key)


@dataclass(slots=True)
class Decision:
    """What must become of a packet."""

    act: Act
    work: Work | None
    """None: nobody's packet."""
    flow: Flow | None = None
    """What it is rewritten to."""
    mtu: int = 0
    """That the sender is told."""
    reason: Counter | None = None
    """Of a drop, or why it is left to another hook."""
    route: Route | None = None
    """Of a packet that is forwarded."""
