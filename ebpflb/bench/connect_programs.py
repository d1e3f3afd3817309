"""The programs that the socket hooks are compared with, at connect() of a cgroup: nothing, and look-ups.

bpf/bench_connect.c --compiler's child--> pins --attach_cgroup--> a cgroup of the bench's own
"""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.bench.agents import BPFFS
from ebpflb.core.abi import Family
from ebpflb.datapath.build import bcc_version
from ebpflb.datapath.cgroup import attach_cgroup
from ebpflb.datapath.compile_job import ProgramJob, Unit, compile_units
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import SOCKET_PROGRAMS
from ebpflb.datapath.source import bpf_directory, inline_source

EMPTY: Final = "connect_empty"
HASH: Final = "connect_hash"
LOOK_UPS: Final = 8
"""That ``connect_hash`` makes."""
_CONNECT: Final = next(each for each in SOCKET_PROGRAMS if each.stem == "lb_connect")


class ConnectPrograms:
    """Both programs, loaded. A context manager; at its end they are detached, too."""

    def __init__(self, instance: str) -> None:
        """``instance``: a name on bpffs that no agent has."""
        self._root = Pins(BPFFS, instance).root

    def __enter__(self) -> Self:
        """Build and load them. Raises what ``compile_units`` raises."""
        bcc_version()
        self._root.mkdir(parents=True)
        attach_type = _CONNECT.attach_type(Family.IPV4)
        jobs = tuple(ProgramJob(name, _CONNECT.type, attach_type, self._root / name) for name in (EMPTY, HASH))
        directory = bpf_directory()
        text = inline_source("bench_connect.c", directory)
        try:
            flags = [f"-DCONNECT_LOOK_UPS={LOOK_UPS}"]
            compile_units("the programs of the benchmark", [Unit(text, jobs)], flags, directory / "shim")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unload them."""
        self._remove()

    def attach(self, name: str, cgroup: Path) -> None:
        """Have one of them run at every IPv4 connect() of a cgroup."""
        links = self._root / f"{name}-links"
        links.mkdir()
        attach_cgroup({_CONNECT.name(Family.IPV4): self._root / name}, cgroup, links)

    def _remove(self) -> None:
        shutil.rmtree(self._root)
