"""The XDP dispatcher, and the array in which it finds the program of each family.

Decides when the dispatcher is compiled (when a device first needs it, unless it is pinned) and what stands in the
array. Must not know devices. Its pins belong to the instance, not to a schema version: a new version puts its programs
into the array under the dispatcher that runs.

    programs by family --adopt--> array (if there is one)        ready --> pin of lb_xdp
"""

import ctypes
import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.datapath import libbpf
from ebpflb.datapath.build import bcc_version, remove_build
from ebpflb.datapath.compile_job import ProgramJob, Unit, compile_units
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import BPF_PROG_TYPE_XDP, NO_ATTACH_TYPE
from ebpflb.datapath.source import bpf_directory, inline_source

_SOURCE = "lb_xdp_dispatch.c"
_NAME = "lb_xdp"
_ARRAY = "xdp_families"
_INDEXES = {Family.IPV4: 0, Family.IPV6: 1}


class Dispatcher:
    """The dispatcher of an instance; ``programs`` are the pins of those that it calls."""

    def __init__(self, pins: Pins, programs: Mapping[Family, Path]) -> None:
        self._array = pins.xdp / "maps" / _ARRAY
        self._progs = pins.xdp / "progs"
        self._programs = programs

    @property
    def is_pinned(self) -> bool:
        """Whether a predecessor has left a dispatcher."""
        return self._array.exists()

    def adopt(self) -> None:
        """Have a predecessor's dispatcher, which may be running, call our programs from now on."""
        if self.is_pinned:
            self._fill()

    def ready(self) -> Path:
        """Return the dispatcher's pin, compiled if need be and able to call our programs.

        Raises ``PrerequisiteError`` without bcc, ``BuildError`` with the compiler's or the verifier's words.
        """
        directory = bpf_directory()
        text = inline_source(_SOURCE, directory)
        final = self._progs / self._key(text)
        if not ((final / _NAME).exists() and self._array.exists()):
            self._compile(text, directory / "shim", final)
        self._fill()
        self._remove_others(final)
        return final / _NAME

    def remove(self) -> None:
        """Remove every pin of the dispatcher; a device that runs it is not detached by that."""
        if self._progs.parent.is_dir():
            shutil.rmtree(self._progs.parent)

    def _key(self, text: str) -> str:
        content = json.dumps([text, bcc_version(), platform.release()])
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()

    def _compile(self, text: str, shim: Path, final: Path) -> None:
        staging = final.with_name(f"{final.name}-staging")
        for folder in (staging, final):
            remove_build(folder)
        for folder in (staging, self._array.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        program = ProgramJob(_NAME, BPF_PROG_TYPE_XDP, NO_ATTACH_TYPE, staging / _NAME)
        flags = [f'-DLB_PIN_DIR="{self._array.parent}"']
        compile_units("the XDP dispatcher", [Unit(text, (program,))], flags, shim)
        staging.rename(final)

    def _fill(self) -> None:
        """Put our programs into the array, each at once, and take out those of a family that is served no more."""
        with libbpf.obj_get(self._array) as array:
            for family, index in _INDEXES.items():
                key = ctypes.byref(ctypes.c_uint32(index))
                if family not in self._programs:
                    libbpf.call("bpf_map_delete_elem", array.fileno(), key)  # ENOENT: there was none
                    continue
                with libbpf.obj_get(self._programs[family]) as program:
                    value = ctypes.byref(ctypes.c_uint32(program.fileno()))
                    result = libbpf.call("bpf_map_update_elem", array.fileno(), key, value, 0)
                if result < 0:
                    raise libbpf.failure("put", f"{self._programs[family]} into {self._array}", -result)

    def _remove_others(self, current: Path) -> None:
        for folder in self._progs.iterdir():
            if folder != current:
                remove_build(folder)
