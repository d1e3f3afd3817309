"""What a program costs, in nanoseconds a packet: runs it on a packet that is put back for each repetition.

Decides how programs are called and what is compared (an empty program, one look-up); knows no data plane. The kernel's
own clock counts: ``duration`` of BPF_PROG_TEST_RUN. bpf/bench_cycles.c puts the packet back and calls what is measured.

    program (pin), frame, Supply --Cycles.run--> Run(nanoseconds a packet, verdict)
"""

import ctypes
import os
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from ebpflb.bench.closing import Closing
from ebpflb.datapath import libbpf
from ebpflb.datapath.arrays import Rows
from ebpflb.datapath.build import remove_build
from ebpflb.datapath.compile_job import ProgramJob, Unit, compile_units
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import BPF_PROG_TYPE_XDP, NO_ATTACH_TYPE
from ebpflb.datapath.source import bpf_directory, inline_source
from ebpflb.errors import EbpflbError

FLOWS: Final = 100_000
"""Of ``Supply.FLOWS4``."""
PORT_BITS: Final = 15
"""A flow's number: so many bits are added to the source port, the rest to the last 16 bits of the source address."""
_SOURCE: Final = "bench_cycles.c"
_HOT_ENTRIES: Final = 10_000
_HOT_KEY: Final = 4_711
_MAPS: Final = ("measured", "template", "state", "hot", "cold")
_TEMPLATE_BYTES: Final = 74


class Supply(StrEnum):
    """Which packets come: programs of bpf/bench_cycles.c."""

    SAME4 = "cycles_same4"
    SAME6 = "cycles_same6"
    PORTS4 = "cycles_ports4"
    """Each from another source port: the next one, beginning with the frame's."""
    FLOWS4 = "cycles_flows4"
    """Of ``FLOWS`` flows a random one, the frame's being the first."""


class Reference(StrEnum):
    """What is measured for comparison."""

    EMPTY = "cycles_empty"
    HOT = "cycles_hot"
    """One look-up of an 8-byte key in a hash of 10,000, always the same."""
    COLD = "cycles_cold"
    """One look-up of the packet's tuple in a hash of as many entries as ``FLOWS`` flows take, of the same size."""


@dataclass(frozen=True, slots=True)
class Run:
    """What repetitions came to."""

    ns: float
    """A packet, mean."""
    verdict: int
    """Of the last packet (``enum xdp_action``)."""
    frame: bytes
    """The last packet as the program left it."""


class Cycles(Closing):
    """The programs that supply packets, and those for comparison. A context manager."""

    def __init__(self, bpffs: Path) -> None:
        """Build and load them. Raises what ``compile_units`` raises."""
        self._pins = Pins(bpffs, f"cycles-{os.getpid()}")
        self._open = ExitStack()
        self._measured = ""
        try:
            folder = _build(self._pins)
            keep = self._open.enter_context
            self._programs = {name: keep(libbpf.obj_get(folder / name)) for name in (*Supply, *Reference)}
            self._array = keep(libbpf.obj_get(folder / "measured"))
            self._maps = {name: keep(BpfMap.open(folder / name)) for name in _MAPS if name != "measured"}
            self._fill_hot()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unload everything."""
        self._open.close()
        remove_build(self._pins.root / "cycles")
        self._pins.remove()

    def fill_cold(self, keys: Rows) -> None:
        """Give ``Reference.COLD`` the keys of a flow table (IPv4), with values of the same size."""
        cold = self._maps["cold"]
        rows = np.frombuffer(np.ascontiguousarray(keys).tobytes(), cold.layout.key)
        values = np.ones((len(rows), cold.layout.value.itemsize // 4), np.uint32).view(cold.layout.value)[:, 0]
        if cold.update(rows, values):
            raise EbpflbError(f"the hash for comparison does not take {len(rows)} entries")

    def run(
        self, supply: Supply, measured: Reference | libbpf.Handle, frame: bytes, *, repeat: int, ifindex: int = 0
    ) -> Run:
        """Run a program on packets that came in by a device of the caller's network namespace (0: by none).

        A call takes some 25 ms beside its packets: few repetitions are not worth it.
        """
        self._point_at(self._programs[measured] if isinstance(measured, Reference) else measured)
        self._maps["template"].update(np.zeros(1, "=u4"), self._template(frame))
        self._maps["state"].update(np.zeros(1, "=u4"), np.zeros(1, self._maps["state"].layout.value))
        ctx = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0) if ifindex else b""  # struct xdp_md
        outcome = libbpf.prog_test_run(self._programs[supply], frame, ctx=ctx, repeat=repeat)
        return Run(outcome.duration_ns, outcome.retval, outcome.data)

    def _template(self, frame: bytes) -> Rows:
        value = frame[:_TEMPLATE_BYTES].ljust(_TEMPLATE_BYTES, b"\0")
        return np.frombuffer(value, self._maps["template"].layout.value)

    def _point_at(self, program: libbpf.Handle) -> None:
        key, value = ctypes.c_uint32(0), ctypes.c_uint32(program.fileno())
        result = libbpf.call(
            "bpf_map_update_elem", self._array.fileno(), ctypes.byref(key), ctypes.byref(value), ctypes.c_uint64(0)
        )
        if result < 0:
            raise libbpf.failure("call", program.subject, -result)

    def _fill_hot(self) -> None:
        keys = np.arange(_HOT_KEY, _HOT_KEY + _HOT_ENTRIES, dtype=np.uint64)
        if self._maps["hot"].update(keys, np.ones(_HOT_ENTRIES, np.uint64)):
            raise EbpflbError("the hash for comparison takes no entries")


def _build(pins: Pins) -> Path:
    """Compile, load and pin; return the folder of programs and maps."""
    directory = bpf_directory()
    folder = pins.root / "cycles"
    folder.mkdir(parents=True, mode=0o700)
    jobs = tuple(ProgramJob(name, BPF_PROG_TYPE_XDP, NO_ATTACH_TYPE, folder / name) for name in (*Supply, *Reference))
    flags = [
        f'-DLB_PIN_DIR="{folder}"',
        f"-DCYCLES_HOT_ENTRIES={_HOT_ENTRIES}",
        f"-DCYCLES_HOT_KEY={_HOT_KEY}ULL",
        f"-DCYCLES_COLD_ENTRIES={2 * FLOWS}",
        f"-DCYCLES_FLOWS={FLOWS}",
        f"-DCYCLES_PORT_BITS={PORT_BITS}",
    ]
    compile_units(
        "the programs of the benchmark", [Unit(inline_source(_SOURCE, directory), jobs)], flags, directory / "shim"
    )
    return folder
