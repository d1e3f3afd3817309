"""``ebpflb dump-maps``: what the pinned maps hold, in words.

Decides what may be asked for. Reading is ``pinned.py``'s, decoding that of ``*_maps.py``.

    flags -> families -> decode_maps -> document or tables
"""

from pathlib import Path

import click

from ebpflb.cli.columns import cells, headers
from ebpflb.cli.options import bpffs_option, instance_option, output_option, require_root
from ebpflb.cli.pinned import OF_THE_NODE, decode_maps, families, maps_to_read, read_tables
from ebpflb.cli.show import print_document, print_table
from ebpflb.cli.words import Names, Row
from ebpflb.datapath.layout import MAP_NAMES
from ebpflb.datapath.pins import Pins
from ebpflb.errors import EbpflbError

_Families = dict[str, dict[str, list[Row]]]


@click.command()
@click.argument("maps", nargs=-1, metavar="[MAP]...")
@click.option("--service", metavar="NAMESPACE/NAME", help="Only what belongs to this Service.")
@output_option
@instance_option
@bpffs_option
def command(maps: tuple[str, ...], service: str | None, output: str, instance: str, bpffs: Path) -> None:
    """Show what the BPF maps hold, also while no agent runs.

    Without a MAP, all: frontends, backends, slots, services, members, affinity, flows, pending, sock_origins,
    sock_choices, node_addrs, devices, local_backends, source_ranges, opt_outs, service_cidrs, config, datagrams,
    held_fragments, counters, marks, changes.
    Devices have the names that they have in the current network namespace.
    """
    _check(maps, service)
    require_root("dump-maps")
    found = _read(Pins(bpffs, instance), maps_to_read(maps, of_service=service is not None), service)
    if output != "table":
        print_document({"instance": instance, "families": found}, output)
        return
    tables = [(family, name, rows) for family, of_family in found.items() for name, rows in of_family.items()]
    for number, (family, name, rows) in enumerate(tables):
        if number:
            click.echo()
        print_table(f"{name} ({family}, {len(rows)})", headers(name), cells(name, rows))


def _check(maps: tuple[str, ...], service: str | None) -> None:
    unknown = [name for name in maps if name not in MAP_NAMES]
    if unknown:
        raise click.BadArgumentUsage(f"there is no map {unknown[0]!r}, only {', '.join(MAP_NAMES)}")
    if service is None:
        return
    if service.count("/") != 1 or not all(service.split("/")):
        raise click.BadOptionUsage("service", f"--service {service!r}: write it as NAMESPACE/NAME")
    of_node = [name for name in maps if name in OF_THE_NODE]
    if of_node:
        raise click.BadOptionUsage("service", f"--service: map {of_node[0]!r} belongs to the node, not to a Service")


def _read(pins: Pins, maps: list[str], service: str | None) -> _Families:
    tables = {family: read_tables(pins, family) for family in families(pins)}
    if service is not None and not any(Names(each).ids_of(service) for each in tables.values()):
        raise EbpflbError(
            f"service {service}: not in the maps of instance {pins.instance}",
            remedy="see `ebpflb dump-maps services` for those that are, `ebpflb status` for those refused",
        )
    return {f"ipv{family.value}": decode_maps(pins, each, maps, service) for family, each in tables.items()}
