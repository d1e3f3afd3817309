"""``ebpflb status``: is the agent alive, and are the maps what they should be?

Decides what a reader sees first: whether all is well, and if not why. What counts as healthy is the agent's word
(``reconcile/status.py``), as long as there is an agent to give it.

    lock, status file -> Report -> text or document, exit code
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ebpflb.cli.options import bpffs_option, instance_option, output_option, state_dir_option
from ebpflb.cli.show import print_document, print_table
from ebpflb.cli.state import instances_with_state, status_file
from ebpflb.datapath.pins import Pins
from ebpflb.host.lock import holder_of
from ebpflb.reconcile.status import FamilyStatus, HealthPort, NodeStatus, RefusedObject, Status

_FEW: Final = 4
"""Devices of a role, or pods, that are named before the rest is counted; the documents name all."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of an instance."""

    instance: str
    process: int | None
    """``None``: no agent runs."""
    status: Status | None
    """``None``: none was left."""

    @property
    def is_healthy(self) -> bool:
        """Say whether an agent runs and has everything in the maps."""
        return self.process is not None and self.status is not None and self.status.healthy

    @property
    def refused(self) -> list[RefusedObject]:
        """Every refused object once, whoever refused it."""
        if self.status is None:
            return []
        by_families = (refused for family in self.status.families for refused in family.refused)
        return list(dict.fromkeys([*self.status.refused, *by_families]))

    def warnings(self) -> Iterator[str]:
        """Yield what is worth a look though it is no ill health."""
        if self.status is None:
            return
        if self.is_healthy and self.status.source_error:
            yield f"source: {self.status.source_error}"
        yield from self.status.node.warnings

    def reasons(self) -> Iterator[str]:
        """Yield why the instance is not healthy."""
        if self.is_healthy:
            return
        if self.process is None:
            yield "no agent runs; traffic follows what the maps hold"
        if self.status is None:
            yield "the agent is starting, or was given another --state-dir" if self.process else "no status was left"
            return
        if self.status.waiting_for:
            yield f"waiting for {', '.join(self.status.waiting_for)}: nothing is programmed before"
        if self.status.source_error:
            yield f"source: {self.status.source_error}"
        for family in self.status.families:
            yield from _family_reasons(family)
        for failed in self.status.node.failed:
            yield f"{failed.role} device is not served: " + "; ".join(filter(None, [failed.error, failed.remedy]))
        if self.status.pending_since:
            yield f"a change is not in the maps, {_ago(self.status.pending_since)}"


def _family_reasons(family: FamilyStatus) -> Iterator[str]:
    if family.error:
        yield f"ipv{family.family}: {family.error}"
    if family.failed_rows:
        yield f"ipv{family.family}: {len(family.failed_rows)} rows were not taken by the kernel"


@click.command()
@instance_option
@bpffs_option
@state_dir_option
@output_option
@click.pass_context
def command(context: click.Context, instance: str, bpffs: Path, state_dir: Path, output: str) -> None:
    """Show whether the agent runs and is healthy, and what it refused.

    Exit code 0: healthy; 1: not, or no agent runs. Healthy means that the last change known is in the maps and that all
    devices have their programs. When the source cannot be read meanwhile (API server gone, broken manifest) it stays
    healthy, but the first line says so: "healthy, but: source: ...".
    """
    file = status_file(state_dir, instance)
    status = file.read() if file.path.exists() else None
    report = Report(instance, holder_of(Pins(bpffs, instance).root), status)
    if output == "table":
        _print(report, [name for name in instances_with_state(state_dir) if name != instance])
    else:
        print_document(_document(report), output)
    context.exit(0 if report.is_healthy else 1)


def _document(report: Report) -> dict[str, Any]:
    return {
        "instance": report.instance,
        "healthy": report.is_healthy,
        "reasons": list(report.reasons()),
        "warnings": list(report.warnings()),
        "process": report.process,
        "status": msgspec.to_builtins(report.status),
    }


def _print(report: Report, others: list[str]) -> None:
    process = f"process {report.process}" if report.process else "not running"
    click.echo(f"instance {report.instance}: {_verdict(report)} ({process})")
    for reason in report.reasons():
        click.echo(f"  {reason}")
    for warning in report.status.node.warnings if report.status else ():
        click.echo(f"  warning: {warning}")
    if report.status is None:
        if others:
            click.echo(f"  other instances: {', '.join(others)}")
        return
    _print_facts(report.status)
    _print_health_ports(report.status.node.health_ports)
    _print_maps(report.status)
    _print_troubles(report)


def _verdict(report: Report) -> str:
    if not report.is_healthy:
        return "NOT HEALTHY"
    source_error = report.status.source_error if report.status else ""
    return f"healthy, but: source: {source_error}" if source_error else "healthy"


def _print_facts(status: Status) -> None:
    objects = ", ".join(f"{count} {kind}" for kind, count in status.objects.items()) or "none"
    click.echo(f"node {status.node_name}, agent started {_ago(status.started_at)}")
    click.echo(f"objects: {objects}")
    click.echo(
        f"last change: received {_ago(status.last_change_received_at)}, in the maps "
        f"{_ago(status.last_change_applied_at)}"
    )
    _print_hooks(status.node)


def _print_hooks(node: NodeStatus) -> None:
    click.echo(f"sockets of {node.cgroup}: {', '.join(node.socket_programs)}" if node.cgroup else "sockets: not served")
    for hooks in node.devices:
        click.echo(f"{hooks.role} devices: {_few(hooks.devices)}: {', '.join(hooks.programs)}")
    for device in node.xdp:
        click.echo(f"xdp on {device.device}: {'; '.join(filter(None, [device.mode or 'none', device.reason]))}")
    for title, who in (("left to the packet programs", node.opted_out), ("to be left to them", node.awaiting_opt_out)):
        if who:
            click.echo(f"{title}: {_few(who)}")
    if node.repairs:
        click.echo(f"programs that others had removed were attached again: {node.repairs} times")


def _few(names: Sequence[str]) -> str:
    rest = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {rest} more" if rest > 0 else "")


def _print_health_ports(ports: Sequence[HealthPort]) -> None:
    if not ports:
        return
    click.echo()
    rows = [[each.service, str(each.port), _counts(each), each.error or "listens"] for each in ports]
    print_table("health checks", ["service", "port", "local backends", "state"], rows)


def _counts(each: HealthPort) -> str:
    counts = each.local_backends
    if len(set(counts.values())) == 1:
        return str(max(counts.values()))
    return ", ".join(f"{family} {count}" for family, count in counts.items()) or "0"


def _print_maps(status: Status) -> None:
    rows = [
        [f"ipv{family.family}", name, str(usage.used), str(usage.capacity), f"{usage.used / usage.capacity:.1%}"]
        for family in status.families
        for name, usage in family.maps.items()
    ]
    click.echo()
    print_table("maps", ["family", "map", "used", "capacity", "pressure"], rows)
    for family in status.families:
        click.echo(
            f"ipv{family.family}: service ports: {family.service_ports}, rows repaired: {family.repairs}, "
            f"last compared: {_ago(family.compared_at)}"
        )


def _print_troubles(report: Report) -> None:
    if report.refused:
        click.echo()
        rows = [[each.object, each.field, each.reason, each.remedy] for each in report.refused]
        print_table("refused objects", ["object", "field", "reason", "remedy"], rows)
    families = report.status.families if report.status else ()
    failed = [
        [f"ipv{family.family}", row.table, row.key, row.error] for family in families for row in family.failed_rows
    ]
    if failed:
        click.echo()
        print_table("failed rows", ["family", "map", "key", "error"], failed)


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    seconds = max(0, round((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"
