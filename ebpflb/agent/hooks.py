"""Puts the programs of all families on the cgroup and on devices, and remembers whose clsact is ours to remove.

Knows pins and devices; must not know what a program does.

builds --> cgroup links (once)          device from netlink --> tc filters (each time one appears)
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from ebpflb.agent.config import AgentConfig
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build
from ebpflb.datapath.cgroup import attach_cgroup, detach_cgroup
from ebpflb.datapath.programs import OUT, POD_IN, SOCKET_PROGRAMS, UPLINK_IN, Program
from ebpflb.host.inventory import DeviceRole, Link
from ebpflb.host.tc import TcHook, TcProgram, attach, detach

log = logging.getLogger(__name__)

_INGRESS = {DeviceRole.UPLINK: UPLINK_IN, DeviceRole.POD: POD_IN}


class ClsactRecord:
    """The devices whose clsact an instance created, in a file: ``cleanup`` may remove those, and only those."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        """Return the names of the devices."""
        return set(self._path.read_text().split()) if self._path.exists() else set()

    def add(self, name: str) -> None:
        """Note that we created a device's clsact."""
        self._write(self.names() | {name})

    def discard(self, name: str) -> None:
        """Forget a device."""
        self._write(self.names() - {name})

    def _write(self, names: set[str]) -> None:
        if names == self.names():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.new")
        temporary.write_text("".join(f"{name}\n" for name in sorted(names)))
        temporary.replace(self._path)


class Hooks:
    """Attaches one agent's builds. Attaching what is attached already changes nothing."""

    def __init__(self, config: AgentConfig, builds: Mapping[Family, Build]) -> None:
        self._config = config
        self._builds = builds
        self._clsact = ClsactRecord(config.clsact_path)

    def attach_sockets(self) -> None:
        """Attach the socket programs to the cgroup, or detach them when no cgroup is wanted any more."""
        for family, build in self._builds.items():
            links = self._config.pins.links(family)
            names = {program.name(family): build.pins[program.stem] for program in SOCKET_PROGRAMS}
            if self._config.cgroup is None:
                changes = detach_cgroup(names, links)
            else:
                changes = attach_cgroup(names, self._config.cgroup, links)
            for change in changes:
                log.info("cgroup_hook change=%r", change)

    def attach_device(self, role: DeviceRole, device: Link) -> None:
        """Attach the packet programs to a device that has taken on a role."""
        report = attach(device, self._tc_programs(role), self._config.instance)
        if report.clsact_created:
            self._clsact.add(device.name)
        for change in report.changes:
            log.info("device_hook change=%r", change)

    def detach_device(self, role: DeviceRole, device: Link) -> None:
        """Take the programs off a device that has lost its role; a device that is gone has none."""
        ours = device.name in self._clsact.names()
        for change in detach(device, self._config.instance, remove_clsact=ours):
            log.info("device_hook change=%r role=%s", change, role)
        self._clsact.discard(device.name)

    def _tc_programs(self, role: DeviceRole) -> list[TcProgram]:
        return [
            self._tc_program(program, hook, family)
            for family in self._builds
            for program, hook in ((_INGRESS[role], TcHook.INGRESS), (OUT, TcHook.EGRESS))
        ]

    def _tc_program(self, program: Program, hook: TcHook, family: Family) -> TcProgram:
        return TcProgram(program.name(family), hook, family, self._builds[family].pins[program.stem])
