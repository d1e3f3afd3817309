"""Reads an instance's pinned maps, whether or not its agent runs, and decodes those that are asked for.

Decides which instances and families there are, and which maps must be read for the names in others. Writes nothing.

    bpffs -> instances, families -> read_family -> {map name: rows}
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ebpflb.cli.flow_maps import FLOW_MAPS, FlowContext
from ebpflb.cli.node_maps import NODE_MAPS
from ebpflb.cli.service_maps import SERVICE_MAPS
from ebpflb.cli.words import Names, Row
from ebpflb.core.abi import Family
from ebpflb.core.tables import Tables
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.layout import MAP_NAMES, SCHEMA_VERSION
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.errors import EbpflbError

OF_THE_NODE = frozenset({*NODE_MAPS, "datagrams", "held_fragments", "counters", "marks", "changes"})
"""They belong to the node, not to a service."""


def instances(bpffs: Path) -> list[str]:
    """Return the names of all instances that have pins."""
    try:
        return sorted(path.name for path in (bpffs / "ebpflb").iterdir())
    except FileNotFoundError:  # also when it goes with its last instance
        return []


def families(pins: Pins) -> list[Family]:
    """Return the families that have maps. Raises ``EbpflbError`` when there is none."""
    found = [family for family in Family if pins.maps(family).is_dir()]
    if found:
        return found
    known = instances(pins.bpffs)
    if pins.instance in known:
        raise EbpflbError(
            f"instance {pins.instance}: has pins, but no maps of schema version {SCHEMA_VERSION}",
            remedy="use the version of ebpflb that wrote them, or start the agent",
        )
    if not known:
        raise EbpflbError(
            f"instance {pins.instance}: there are no maps, nor any other instance's, under {pins.bpffs}/ebpflb",
            remedy="start the agent with `ebpflb run`, or name another --bpffs",
        )
    raise EbpflbError(
        f"instance {pins.instance}: there is no such instance",
        remedy=f"name one that exists with --instance: {', '.join(known)}",
    )


def read_tables(pins: Pins, family: Family) -> Tables:
    """Read the maps that the control plane writes."""
    with PinnedMapStore(pins, family) as store:
        return store.read()


def decode_maps(pins: Pins, tables: Tables, maps: Sequence[str], service: str | None) -> dict[str, list[Row]]:
    """Return the rows of each map; of one service (``namespace/name``) if given."""
    wanted = None if service is None else Names(tables).ids_of(service)
    read: dict[str, list[Row]] = {}
    with ExitStack() as stack:
        context: FlowContext | None = None
        for name in maps:
            if name in SERVICE_MAPS:
                read[name] = SERVICE_MAPS[name](tables, wanted)
                continue
            if name in NODE_MAPS:
                read[name] = NODE_MAPS[name](tables)
                continue
            if context is None:
                clock = stack.enter_context(JiffiesClock())
                context = FlowContext(tables, clock.now_jiffies(), clock.hz, wanted)
            with open_map(pins, tables.family, name) as opened:
                read[name] = FLOW_MAPS[name](context, *opened.read())
    return read


def maps_to_read(names: Sequence[str], *, of_service: bool) -> list[str]:
    """Return the maps that are meant, in the order of the schema: all, where none is named."""
    wanted = set(names) or (set(MAP_NAMES) - OF_THE_NODE if of_service else set(MAP_NAMES))
    return [name for name in MAP_NAMES if name in wanted]
