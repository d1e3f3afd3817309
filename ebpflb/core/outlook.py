"""From where a node looks at Services: everything of it that their rows depend on, and nothing else.

Decides whether a change of Node or Host can be kept from the Services' rows. Knows no Service.

    Node, Host, Options --Outlook.of--> equal to the one before: no Service's rows change by it
"""

from dataclasses import dataclass
from typing import Self

from ebpflb.core.abi import Family
from ebpflb.core.model import Snapshot
from ebpflb.core.options import Options
from ebpflb.core.placement import Placement
from ebpflb.core.primary import primary_addresses


@dataclass(frozen=True, slots=True)
class Outlook:
    """What ``compile_tables`` asks a node about when it makes a Service's rows."""

    name: str
    zone: str
    placement: Placement
    primary: tuple[bytes, ...]
    """Its first addresses: whether it may use load-balancer addresses of its own."""

    @classmethod
    def of(cls, snapshot: Snapshot, family: Family, options: Options) -> Self:
        """Return the outlook of a family."""
        node = snapshot.node
        return cls(
            node.name,
            node.zone,
            Placement.of(node, snapshot.host, family),
            tuple(primary_addresses(node, family, options)),
        )
