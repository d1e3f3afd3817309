"""``ebpflb doctor``: is everything here that ebpflb needs? Gathers the findings of the layers and prints them.

Decides only the trial: that the programs compile and load on this kernel, into a pin folder that goes again.

    host probes, bcc, trial build -> findings -> table or document, exit code
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from ebpflb.cli.options import bpffs_option, cgroup_option, output_option, uplink_devices_option
from ebpflb.cli.show import print_document
from ebpflb.core.abi import Family
from ebpflb.datapath.build import BuildSpec, MapSizes, bcc_version, build_programs
from ebpflb.datapath.clock import measure_hz
from ebpflb.errors import EbpflbError, PrerequisiteError
from ebpflb.host.features import SET_RETVAL, probe_feature
from ebpflb.host.probe import Finding, Level, run_probes
from ebpflb.host.xdp_probe import probe_xdp

_EXIT_ERRORS: Final = PrerequisiteError.exit_code
_MARKS: Final = {Level.OK: "✓", Level.WARNING: "!", Level.ERROR: "✗"}
_COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}
_SMALL: Final = MapSizes(64, 64, 64, 64, 1_024, 64, 64, 64, 64, 64)


@click.command()
@uplink_devices_option
@cgroup_option
@bpffs_option
@output_option
@click.pass_context
def command(
    context: click.Context, uplink_devices: tuple[str, ...], cgroup: Path | None, bpffs: Path, output: str
) -> None:
    """Check this machine: kernel, bcc, bpffs, cgroup v2, other proxies.

    As root, the programs are also compiled and loaded once, for both families. Without --uplink-devices, the devices of
    the default routes are looked at. Native XDP is tried on named ones, for a moment in which a card may pause.
    """
    findings = [
        *run_probes(cgroup, bpffs, uplink_devices),
        *probe_xdp(uplink_devices),
        check_bcc(),
        *_try_build(bpffs),
    ]
    if output == "table":
        for finding in findings:
            _print(finding)
    else:
        print_document({"ok": not has_errors(findings), "findings": [_row(each) for each in findings]}, output)
    context.exit(_EXIT_ERRORS if has_errors(findings) else 0)


def has_errors(findings: list[Finding]) -> bool:
    """Say whether ebpflb cannot run rightly here."""
    return any(finding.level is Level.ERROR for finding in findings)


def check_bcc() -> Finding:
    """Say whether the distribution's bcc is there."""
    try:
        return Finding("bcc", Level.OK, bcc_version())
    except PrerequisiteError as error:
        return Finding("bcc", Level.ERROR, error.message, error.remedy)


def _try_build(bpffs: Path) -> list[Finding]:
    if os.geteuid() != 0:
        return [Finding("trial build", Level.WARNING, "not tried: it needs root", "run doctor as root")]
    with _trial_folder(bpffs) as folder:
        return [check_build(family, folder) for family in Family]


def check_build(family: Family, folder: Path) -> Finding:
    """Compile and load the programs of one family into a folder on bpffs."""
    name = f"trial build {family.name}"
    try:
        spec = BuildSpec(
            family=family,
            maps=folder / f"ipv{family.value}" / "maps",
            progs=folder / f"ipv{family.value}" / "progs",
            hz=measure_hz(),
            host_netns_cookie=0,
            hairpin_address=bytes(family.address_bytes),
            have_set_retval=probe_feature(SET_RETVAL).level is Level.OK,
            sizes=_SMALL,
        )
        build = build_programs(spec)
    except EbpflbError as error:
        return Finding(name, Level.ERROR, error.message, error.remedy or "report this text")
    except OSError as error:
        return Finding(name, Level.ERROR, f"{folder}: {error.strerror}", "mount bpffs: mount -t bpf bpf /sys/fs/bpf")
    count = len(build.instructions)
    return Finding(name, Level.OK, f"{count} programs, largest {max(build.instructions.values())} instructions")


@contextmanager
def _trial_folder(bpffs: Path) -> Iterator[Path]:
    folder = bpffs / f"ebpflb-doctor-{os.getpid()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(finding: Finding) -> None:
    mark = click.style(_MARKS[finding.level], fg=_COLOURS[finding.level])
    click.echo(f"{mark} {finding.name}: {finding.detail}")
    if finding.remedy:
        click.echo(f"  -> {finding.remedy}")


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "level": finding.level.value,
        "detail": finding.detail,
        "remedy": finding.remedy or None,
    }
