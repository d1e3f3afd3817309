"""``ebpflb explain``: why does this packet go where it goes?

Decides what may be asked, and of whom. What happens to a packet is decided in ``core/explain.py``, by the rows that
are in the maps or would be.

    flags --> World (maps or manifests), Query... --> text, a document, or a line of JSON each
"""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from ebpflb.cli.config_load import load_config, remarks
from ebpflb.cli.explain_flows import Query, parse_line, parse_target
from ebpflb.cli.explain_live import LiveWorld
from ebpflb.cli.explain_source import OfflineWorld, World, decide_in, index_for
from ebpflb.cli.explain_text import document, lines
from ebpflb.cli.explain_words import answer
from ebpflb.cli.options import bpffs_option, instance_option, output_option, require_root, state_dir_option
from ebpflb.cli.show import print_document
from ebpflb.cli.state import status_file
from ebpflb.core import fields
from ebpflb.core.decode import FieldError
from ebpflb.core.explain import Hook
from ebpflb.core.proxy_config_options import options_of
from ebpflb.datapath.pins import Pins
from ebpflb.errors import UsageError


@click.command()
@click.option("--from", "source", metavar="IP", help="Who sends.")
@click.option("--to", "target", metavar="IP:PORT[/PROTO]", help="What is dialled: 10.96.0.10:53/udp, [fd00::10]:80.")
@click.option(
    "--flows",
    type=click.File("rb"),
    metavar="FILE",
    help="Many at once: a line of JSON each ('-': stdin), answered by a line of JSON each, in order.",
)
@click.option(
    "--manifests",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Ask manifests instead of the maps: a folder, or a file, with Services, EndpointSlices, Nodes, ServiceCIDRs.",
)
@click.option("--node", metavar="NAME", help="With --manifests: as which node.")
@click.option(
    "--node-address",
    "addresses",
    multiple=True,
    metavar="IP",
    help="With --manifests: a further local address of the node, besides those of its Node. May be repeated.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --manifests: the node's KubeProxyConfiguration.  [default: its defaults]",
)
@click.option(
    "--hook",
    type=click.Choice([hook.value for hook in Hook]),
    default=Hook.PACKET.value,
    show_default=True,
    help="What the packet hooks do, or what the socket hooks do for a process or pod on this node.",
)
@click.option("--input-device", "device", default="", metavar="NAME", help="By which device the packet comes in.")
@output_option
@instance_option
@bpffs_option
@state_dir_option
@click.pass_context
def command(
    context: click.Context,
    *,
    source: str | None,
    target: str | None,
    flows: IO[bytes] | None,
    manifests: Path | None,
    node: str | None,
    addresses: tuple[str, ...],
    config: Path | None,
    hook: str,
    device: str,
    output: str,
    instance: str,
    bpffs: Path,
    state_dir: Path,
) -> None:
    """Show why a packet goes where it goes.

    The frontend, Service, policy and topology, the backends and why no others, the verdict and the source address. It
    is the first packet of a flow that is explained; established ones go on as they began. Without --manifests the maps
    of the running instance are asked, and what they have counted and which flows they hold is shown as well.

    Each line of --flows is {"from": "10.0.0.2", "to": "10.96.0.10", "port": 53, "proto": "UDP"}, and each answer has
    verdict (forward, reject, drop, pass: no Service claims it, accept: a health check), backends, masquerade, frontend,
    service, port_name and reason. A line that is no flow is answered by {"error": ...}, and the exit code is 1.
    """
    single = _check(source, target, flows)
    world: World
    if manifests is not None:
        world = _offline(manifests, node, addresses, config)
    else:
        if node or addresses or config:
            raise click.UsageError("--node, --node-address and --config go with --manifests")
        require_root("explain")
        world = LiveWorld.read(Pins(bpffs, instance), status_file(state_dir, instance))
    for remark in world.remarks:
        click.echo(f"ebpflb: {remark}", err=True)
    if single is not None:
        _explain(world, _target(*single, device), Hook(hook), output)
    elif flows is not None:
        context.exit(1 if _answer_all(world, flows, Hook(hook), device) else 0)


def _check(source: str | None, target: str | None, flows: IO[bytes] | None) -> tuple[str, str] | None:
    """Return the one flow that is asked about, or ``None`` for many."""
    if flows is not None:
        if source or target:
            raise click.UsageError("give --from and --to, or --flows, not both")
        return None
    if not source or not target:
        raise click.UsageError("give --from and --to, or --flows")
    return source, target


def _offline(manifests: Path, node: str | None, addresses: tuple[str, ...], config: Path | None) -> OfflineWorld:
    name = (node or "").strip().lower()  # as the agent has it
    if not name:
        raise click.UsageError("--manifests needs --node: each node has its own answers")
    try:
        local = [fields.address("--node-address", text) for text in addresses]
    except FieldError as error:
        raise _usage_error(error) from None
    loaded = load_config(config)
    for each in remarks(loaded):
        if each.level >= logging.WARNING:
            click.echo(f"ebpflb: {each.text}", err=True)
    return OfflineWorld.read(manifests, name, local, options_of(loaded.config))


def _target(source: str, target: str, device: str) -> Query:
    try:
        return parse_target(source, target, device)
    except FieldError as error:
        raise _usage_error(error) from None


def _usage_error(error: FieldError) -> UsageError:
    flag = {"from": "--from", "--node-address": "--node-address"}.get(error.path, "--to")
    return UsageError(f"{flag}: {error.problem}", remedy=error.remedy)


def _explain(world: World, query: Query, hook: Hook, output: str) -> None:
    decision = decide_in(world, query, hook)
    if output != "table":
        print_document(document(world, query, decision, hook), output)
        return
    click.echo("\n".join(lines(world, query, decision, hook)))


def _answer_all(world: World, flows: IO[bytes], hook: Hook, device: str) -> int:
    """Answer line by line; return how many were no flows."""
    out = sys.stdout.buffer
    failed = 0
    for reply in _replies(world, flows, hook, device):
        failed += "error" in reply
        out.write(msgspec.json.encode(reply) + b"\n")
    return failed


def _replies(world: World, flows: IO[bytes], hook: Hook, device: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(flows, 1):
        if not line.strip():
            continue
        try:
            query = parse_line(line, device)
            yield answer(index_for(world, query), query, decide_in(world, query, hook))
        except FieldError as error:
            yield {"error": f"line {number}: {error.path}: {error.problem}; {error.remedy}"}
        except UsageError as error:
            yield {"error": f"line {number}: {error}"}
