"""What explanations are made from, and the source that needs no node: manifests, compiled as the agent would.

Decides what manifests can tell. Knows neither words nor layout; the maps are ``explain_live.py``'s.

    manifests, node, options --> World --decide_in--> Decision --> Weighing, Traces
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from ebpflb.cli.explain_flows import Query
from ebpflb.cli.words import Row
from ebpflb.core.abi import Family
from ebpflb.core.explain import Decision, Flow, Hook, decide
from ebpflb.core.explain_index import Index
from ebpflb.core.explain_snapshot import index_of
from ebpflb.core.explain_why import Weighing, weigh
from ebpflb.core.model import Snapshot
from ebpflb.core.options import DetectLocal, Options
from ebpflb.errors import UsageError
from ebpflb.files.offline import read_offline


@dataclass(frozen=True, slots=True)
class Traces:
    """What the programs have written down that fits the question."""

    flows: list[Row] = field(default_factory=list)
    """Of this source to this destination."""
    affinity: list[Row] = field(default_factory=list)
    """Of this source to this service port."""
    sockets: list[Row] = field(default_factory=list)
    """Those that dialled this destination, whoever has them."""
    counters: dict[str, int] = field(default_factory=dict)
    """What such flows raise, over all Services."""


class World(Protocol):
    """Rows of each family, and what is known beside them."""

    @property
    def origin(self) -> str:
        """Where it all comes from."""

    @property
    def indexes(self) -> Mapping[Family, Index]:
        """By family; one that is not served has none."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said before any answer."""

    @property
    def caveat(self) -> str:
        """What it cannot tell of endpoints; empty: nothing."""

    def is_pod_device(self, family: Family, name: str) -> bool | None:
        """Return whether what comes in by a device comes from pods; ``None``: its name does not tell. Raises
        ``UsageError`` if there is no such device.
        """

    def weigh(self, decision: Decision, query: Query) -> Weighing:
        """Return why not the other endpoints, as far as that is known."""

    def traces(self, decision: Decision, query: Query) -> Traces:
        """Return what has happened of the kind."""


def decide_in(world: World, query: Query, hook: Hook) -> Decision:
    """Return what becomes of a flow. Raises ``UsageError`` for what this world cannot tell."""
    by_pod_device = world.is_pod_device(query.family, query.device) if query.device else None
    flow = Flow(query.source, query.destination, query.port, query.protocol, by_pod_device)
    return decide(index_for(world, query), flow, hook)


def index_for(world: World, query: Query) -> Index:
    """Return the rows of a flow's family. Raises ``UsageError`` if it is not served."""
    index = world.indexes.get(query.family)
    if index is None:
        problem = f"{world.origin}: IPv{query.family.value} is not served"
        raise UsageError(problem, remedy="ask about the other family, or start the agent with both")
    return index


@dataclass(frozen=True, slots=True)
class OfflineWorld:
    """Manifests as a node would compile them."""

    origin: str
    indexes: Mapping[Family, Index]
    snapshot: Snapshot
    options: Options
    remarks: tuple[str, ...]
    """About what the manifests hold and what does not count."""
    caveat: str = ""

    @classmethod
    def read(cls, path: Path, node_name: str, addresses: Iterable[bytes], options: Options) -> Self:
        """Read and compile. Raises ``UsageError`` if there is nothing to read.

        What the configuration calls the node's address (``bindAddress``) is one, whatever its Node object says.
        """
        offline = read_offline(path, node_name, (*addresses, *options.node_ips))
        indexed = {family: index_of(offline.snapshot, family, options) for family in Family}
        refusals = dict.fromkeys(refusal for each in indexed.values() for refusal in each.refused)
        remarks = (f"Service {each.service}: {each.field}: {each.reason}; {each.remedy}" for each in refusals)
        return cls(
            f"manifests in {path}, as node {node_name}",
            {family: each.index for family, each in indexed.items()},
            offline.snapshot,
            options,
            (*offline.remarks, *remarks),
        )

    def is_pod_device(self, family: Family, name: str) -> bool | None:
        """Go by the name alone: no manifest says which bridge has taken a device in. Modes that ask for networks name
        no device.
        """
        del family
        match self.options.detect_local:
            case DetectLocal.BRIDGE_INTERFACE:
                return name == self.options.pod_interface
            case DetectLocal.INTERFACE_NAME_PREFIX:
                return name.startswith(self.options.pod_interface)
        return None

    def weigh(self, decision: Decision, query: Query) -> Weighing:
        """Look at every EndpointSlice of the Service."""
        return weigh(self.snapshot, decision, query.family)

    def traces(self, decision: Decision, query: Query) -> Traces:
        """Nothing happens in manifests."""
        del decision, query
        return Traces()
