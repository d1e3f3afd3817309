"""Puts the programs of all families on the cgroup and on devices, and remembers whose clsact is ours to remove.

Knows pins and devices; must not know what a program does.

builds --> cgroup links (once)          device from netlink --> tc filters, XDP (each time one appears)
"""

import logging
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ebpflb.agent.acceleration import Accelerator
from ebpflb.agent.config import AgentConfig
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build
from ebpflb.datapath.cgroup import attach_cgroup, detach_cgroup
from ebpflb.datapath.programs import (
    L3_PROGRAMS,
    OUT,
    OUT_L3,
    POD_IN,
    POD_IN_L3,
    SOCKET_PROGRAMS,
    UPLINK_IN,
    UPLINK_IN_L3,
    XDP_IN,
    Program,
    programs_of,
)
from ebpflb.errors import EbpflbError
from ebpflb.host.links import DeviceRole, Link, LinkHeader, RolePatterns
from ebpflb.host.tc import TcHook, TcProgram, attach, detach, list_devices

log = logging.getLogger(__name__)

_INGRESS = {
    (DeviceRole.UPLINK, LinkHeader.ETHERNET): UPLINK_IN,
    (DeviceRole.UPLINK, LinkHeader.NONE): UPLINK_IN_L3,
    (DeviceRole.POD, LinkHeader.ETHERNET): POD_IN,
    (DeviceRole.POD, LinkHeader.NONE): POD_IN_L3,
}
_EGRESS = {LinkHeader.ETHERNET: OUT, LinkHeader.NONE: OUT_L3}


class ClsactRecord:
    """The devices whose clsact an instance created, in a file: ``cleanup`` may remove those, and only those.

    By interface index: a device that is renamed keeps it, and a name may come to mean another device.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def indexes(self) -> set[int]:
        """Return the interface indexes of the devices. What is no number was not written by us."""
        try:
            words = self._path.read_text(errors="replace").split()
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise _file_error(self._path, "read", error) from error
        return {int(word) for word in words if word.isdecimal()}

    def add(self, ifindex: int) -> None:
        """Note that we created a device's clsact."""
        self._write(self.indexes() | {ifindex})

    def discard(self, ifindex: int) -> None:
        """Forget a device."""
        self._write(self.indexes() - {ifindex})

    def _write(self, indexes: set[int]) -> None:
        if indexes == self.indexes():
            return
        temporary = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text("".join(f"{ifindex}\n" for ifindex in sorted(indexes)))
            temporary.replace(self._path)
        except OSError as error:
            raise _file_error(self._path, "written", error) from error


def _file_error(path: Path, action: str, error: OSError) -> EbpflbError:
    return EbpflbError(
        f"file {path} cannot be {action} ({error.strerror})",
        remedy="let the agent write to its --state-dir: make room, or mount it writable",
    )


def complete_builds(builds: Mapping[Family, Build], programs: Collection[Program]) -> None:
    """Build, of what was left for later, these programs, of all families at the same time. Raises ``BuildError``."""
    with ThreadPoolExecutor() as pool:
        tasks = {family: pool.submit(build.complete, programs) for family, build in builds.items()}
    for family, task in tasks.items():
        if task.result():
            log.info("build_completed family=%s key=%s", family.name, builds[family].key)


class Hooks:
    """Attaches one agent's builds. Attaching what is attached already changes nothing."""

    def __init__(self, config: AgentConfig, builds: Mapping[Family, Build]) -> None:
        self._config = config
        self._builds = builds
        self._clsact = ClsactRecord(config.clsact_path)
        self._attached: set[int] = set()
        xdp = {family: build.pins[XDP_IN.stem] for family, build in builds.items()}
        self.acceleration = Accelerator(config, xdp, lambda: complete_builds(builds, (XDP_IN,)))
        self.repairs = 0
        """Devices from which others had taken our filters."""

    @property
    def cgroup(self) -> str:
        """The cgroup that has the socket programs; empty: none."""
        return str(self._config.cgroup or "")

    @property
    def socket_programs(self) -> tuple[str, ...]:
        """The names of the programs on the cgroup."""
        if self._config.cgroup is None:
            return ()
        return tuple(
            program.name(family) for family in self._builds for program in programs_of(family, SOCKET_PROGRAMS)
        )

    def programs_of(self, role: DeviceRole, header: LinkHeader) -> tuple[str, ...]:
        """Return the names of the programs on devices of a role and with a link header."""
        return tuple(program.name for program in self._tc_programs(role, header))

    def attach_sockets(self) -> None:
        """Attach the socket programs to the cgroup; detach those of a family, or all, that are not wanted any more."""
        for family in Family:
            links = self._config.pins.links(family)
            programs = programs_of(family, SOCKET_PROGRAMS)
            build = self._builds.get(family)
            if self._config.cgroup is None or build is None:
                changes = detach_cgroup((program.name(family) for program in programs), links)
            else:
                names = {program.name(family): build.pins[program.stem] for program in programs}
                changes = attach_cgroup(names, self._config.cgroup, links)
            for change in changes:
                log.info("cgroup_hook change=%r", change)

    def attach_device(self, role: DeviceRole, device: Link) -> None:
        """Attach the packet programs to a device that has taken on a role; on one that has them, mend what is gone."""
        if device.header is LinkHeader.NONE:
            complete_builds(self._builds, L3_PROGRAMS)
        changes = attach(device, self._tc_programs(role, device.header), self._config.instance, self._clsact.add)
        for change in changes:
            log.info("device_hook change=%r", change)
        if changes and device.ifindex in self._attached:
            self.repairs += 1
            log.warning("device_hook_repaired device=%s changes=%d repairs=%d", device.name, len(changes), self.repairs)
        if role is DeviceRole.UPLINK:
            self.acceleration.attach(device)
        if device.ifindex not in self._attached:
            log.info("device_served device=%s role=%s", device.name, role)
        self._attached.add(device.ifindex)

    def detach_device(self, role: DeviceRole, device: Link) -> None:
        """Take the programs off a device that has lost its role; a device that is gone has none."""
        log.debug("device_left device=%s role=%s", device.name, role)
        self._attached.discard(device.ifindex)
        if role is DeviceRole.UPLINK:
            self.acceleration.release(device)
        self._release(device)

    def detach_strays(self) -> None:
        """Take the programs off devices without a role: renamed while no agent ran, or the patterns changed."""
        patterns = RolePatterns(self._config.uplink_devices, self._config.pod_devices)
        for device in list_devices(self._config.instance):
            if patterns.role_of(device) is None:
                self._release(device)
        self.acceleration.adopt(lambda device: patterns.role_of(device) is DeviceRole.UPLINK)

    def _release(self, device: Link) -> None:
        ours = device.ifindex in self._clsact.indexes()
        for change in detach(device, self._config.instance, remove_clsact=ours):
            log.info("device_hook change=%r", change)
        self._clsact.discard(device.ifindex)

    def _tc_programs(self, role: DeviceRole, header: LinkHeader) -> list[TcProgram]:
        return [
            self._tc_program(program, hook, family)
            for family in self._builds
            for program, hook in ((_INGRESS[role, header], TcHook.INGRESS), (_EGRESS[header], TcHook.EGRESS))
        ]

    def _tc_program(self, program: Program, hook: TcHook, family: Family) -> TcProgram:
        return TcProgram(program.name(family), hook, family, self._builds[family].pins[program.stem])
