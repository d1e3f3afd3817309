"""Builds the programs of one family for this node, unless a build of the same source and constants is already pinned.

    BuildSpec + bpf/*.c --> key --> pinned under progs/<key>? --yes--> adopted, nothing is compiled
                                                              --no---> child (compiler.py) --> pinned

Knows nothing of what the maps mean. The maps themselves are created and pinned by bcc at the first load.
"""

import hashlib
import json
import os
import platform
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ebpflb.core.abi import SLOTS_PER_LINE, Family
from ebpflb.datapath.compile_job import ProgramJob, Unit, compile_units, kernel_version_code
from ebpflb.datapath.kernel_sockets import SocketBits
from ebpflb.datapath.programs import PROGRAMS, Program, programs_of
from ebpflb.datapath.source import bpf_directory, inline_source
from ebpflb.errors import BuildError, PrerequisiteError

_DIALECT = ("-fno-strict-aliasing",)
"""As the kernel is compiled: checksums read headers by 32-bit words, whatever the types of their fields."""
_INITIAL_NETNS = "lb_get_netns_cookie(NULL)"
_BCC_REMEDY = (
    "install the distribution's package (apt-get install python3-bpfcc) and run ebpflb with the distribution's "
    "python3 or in a virtual environment made by it with --system-site-packages; PyPI's bcc is another thing"
)


@dataclass(frozen=True, slots=True)
class MapSizes:
    """``max_entries`` of each map of a family."""

    frontends: int = 65_536
    backends: int = 131_072
    services: int = 65_536
    members: int = 131_072
    slots: int = 1_048_576
    """u32 slots; 16 of them are one map entry of 64 bytes, and the least that a service port takes (ADR 29)."""
    flows: int = 524_288
    """Entries; a flow takes two. Memory is taken as flows come (BPF_F_NO_PREALLOC)."""
    affinity: int = 65_536
    sockets: int = 65_536
    node_addrs: int = 1_024
    devices: int = 4_096
    pending: int = 131_072
    """Entries of flows that nobody has answered yet; the oldest give way."""
    datagrams: int = 8_192
    """Datagrams in fragments that are under way at one time."""
    held_fragments: int = 1_024
    """Fragments that wait for the first one of their datagram, of 2 KiB each."""
    local_backends: int = 16_384
    source_ranges: int = 65_536
    opt_outs: int = 4_096
    service_cidrs: int = 1_024

    def flags(self) -> list[str]:
        """Return the compiler flags of ``bpf/lb/config.h``."""
        sizes = {item.name: getattr(self, item.name) for item in fields(self)}
        sizes["slot_lines"] = sizes.pop("slots") // SLOTS_PER_LINE
        return [f"-DLB_MAX_{name.upper()}={size}" for name, size in sizes.items()]


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """Everything that is a compile-time constant of the programs."""

    family: Family
    maps: Path
    """Folder on bpffs where the maps are, or will be, pinned."""
    progs: Path
    """Folder on bpffs; the programs are pinned at ``progs/<key>/<program>``."""
    hz: int
    """Jiffies per second."""
    host_netns_cookie: int | None
    """Of the network namespace in which the node's own processes live (``SO_NETNS_COOKIE``, 5.14). ``None``: the
    initial one, which older kernels tell to programs only."""
    hairpin_address: bytes
    """Source of packets that a pod sends itself through a Service; network byte order."""
    have_set_retval: bool = True
    """Kernel 5.18: the socket hooks can refuse with ECONNREFUSED."""
    csum_ipv6_flag: int = 0
    """``BPF_F_IPV6`` of ``bpf_l4_csum_replace`` where the kernel knows it (6.16), else 0."""
    answer_ping: bool = True
    """A ping to a Service's address is answered while the Service has backends."""
    protect_node_ports: bool = True
    """A host process that binds the port of a NodePort is refused with EADDRINUSE."""
    socket_bits: SocketBits = field(default_factory=SocketBits)
    """By which the socket hooks know the kernel's own sockets, to leave them alone."""
    sizes: MapSizes = field(default_factory=MapSizes)

    @property
    def tc_index(self) -> int:
        """What these programs write into a packet's ``tc_index`` (ADR 4): 16 bits, not 0, a hash of where the maps are.

        Two instances of one machine have the same once in 32,768 times.
        """
        return zlib.crc32(os.fsencode(self.maps)) & 0xFFFF | 1

    def flags(self) -> list[str]:
        """Return the compiler flags of ``bpf/lb/config.h``."""
        words = [self.hairpin_address[i : i + 4] for i in range(0, len(self.hairpin_address), 4)]
        cookie = self.host_netns_cookie
        hairpin = ",".join(str(int.from_bytes(word, sys.byteorder)) for word in words)
        return [
            f"-DFAMILY={self.family.value}",
            f'-DLB_PIN_DIR="{self.maps}"',
            f"-DLB_HZ={self.hz}",
            f"-DLB_KERNEL={kernel_version_code()}",
            f"-DLB_TC_INDEX={self.tc_index}",
            f"-DLB_HOST_NETNS_COOKIE={_INITIAL_NETNS if cookie is None else f'{cookie}ULL'}",
            f"-DLB_HAVE_SET_RETVAL={int(self.have_set_retval)}",
            f"-DLB_CSUM_IPV6={self.csum_ipv6_flag}",
            f"-DLB_ANSWER_PING={int(self.answer_ping)}",
            f"-DLB_PROTECT_NODE_PORTS={int(self.protect_node_ports)}",
            f"-DLB_HAIRPIN_ADDRESS={hairpin}",
            *self.socket_bits.flags(),
            *self.sizes.flags(),
        ]


@dataclass(frozen=True, slots=True)
class Build:
    """Pinned programs of one family."""

    key: str
    pins: Mapping[str, Path]
    """Program stem -> pin."""
    compiled: bool
    """False: an earlier build was adopted."""
    seconds: float
    instructions: Mapping[str, int]
    """Program stem -> instructions before the verifier's rewriting; empty for an adopted build."""
    complete: Callable[[Collection[Program]], bool] = lambda _programs: False
    """Builds, of what was left for later, the programs that are asked for; returns whether there was anything to do.
    Raises as ``build_programs`` does."""


def bcc_version() -> str:
    """Return the version of the distribution's bcc without importing it (an import costs 63 MB).

    Raises ``PrerequisiteError`` when there is none, or when it is the unrelated package of that name on PyPI.
    """
    spec = find_spec("bcc")
    if spec is None or spec.origin is None:
        raise PrerequisiteError("python module bcc is not installed", remedy=_BCC_REMEDY)
    if not (Path(spec.origin).parent / "libbcc.py").is_file():
        raise PrerequisiteError(f"{spec.origin} is not the BPF compiler collection", remedy=_BCC_REMEDY)
    try:
        return version("bcc")
    except PackageNotFoundError:
        return "unknown"


def build_programs(
    spec: BuildSpec, programs: Iterable[Program] = PROGRAMS, *, later: Collection[Program] = ()
) -> Build:
    """Return the pinned programs of ``spec``, compiling only what is not there yet.

    Those of ``later`` have pins, too, but nothing stands there before ``Build.complete`` was called: sources of their
    own, which nobody shall wait for who may never need them. Raises ``PrerequisiteError`` without bcc, ``BuildError``
    with the compiler's or the verifier's words.
    """
    began = time.monotonic()
    directory = bpf_directory()
    wanted = programs_of(spec.family, programs)
    texts = {source: inline_source(source, directory) for source in sorted({item.source for item in wanted})}
    key = _key(spec, texts)
    final = spec.progs / key
    pins = {program.stem: final / program.name(spec.family) for program in wanted}
    now = [program for program in wanted if program not in later]
    complete = partial(_complete, spec, [program for program in wanted if program in later], texts, pins)
    if all(pins[program.stem].exists() for program in now):
        seconds = time.monotonic() - began
        return Build(key, pins, compiled=False, seconds=seconds, instructions={}, complete=complete)
    staging = spec.progs / f"{key}-staging"
    remove_build(staging)
    remove_build(final)
    staging.mkdir(parents=True)
    spec.maps.mkdir(parents=True, exist_ok=True)
    try:
        instructions = _compile(spec, now, texts, staging)
    except BuildError:
        remove_build(staging)
        raise
    staging.rename(final)
    seconds = time.monotonic() - began
    return Build(key, pins, compiled=True, seconds=seconds, instructions=instructions, complete=complete)


def _complete(
    spec: BuildSpec,
    later: Collection[Program],
    texts: Mapping[str, str],
    pins: Mapping[str, Path],
    programs: Collection[Program],
) -> bool:
    """Build, of the programs that were left for later, those wanted and not pinned yet. Each appears at once."""
    missing = [program for program in later if program in programs and not pins[program.stem].exists()]
    if missing:
        _compile(spec, missing, texts, pins[missing[0].stem].parent)
    return bool(missing)


def remove_build(folder: Path) -> None:
    """Unpin a build's programs; a missing folder is no error."""
    if folder.is_dir():
        shutil.rmtree(folder)


def _key(spec: BuildSpec, texts: Mapping[str, str]) -> str:
    content = json.dumps([spec.flags(), _DIALECT, texts, bcc_version(), platform.release()])
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def _compile(spec: BuildSpec, programs: Collection[Program], texts: Mapping[str, str], folder: Path) -> dict[str, int]:
    """Pin the programs in ``folder``; return their instructions by stem."""
    sources = sorted({program.source for program in programs})
    units = [
        Unit(
            texts[source],
            tuple(_program_job(each, spec.family, folder) for each in programs if each.source == source),
            has_debug_info=source == min(texts),  # the first of all makes the maps of all, with BTF
        )
        for source in sources
    ]
    own = f'-DLB_BUILD_PIN_DIR="{folder}"'  # maps that are no part of the schema, of this build only
    flags = [*spec.flags(), *_DIALECT, own]
    sizes = compile_units(f"the {spec.family.name} programs", units, flags, bpf_directory() / "shim")
    return {program.stem: sizes[program.name(spec.family)] for program in programs}


def _program_job(program: Program, family: Family, staging: Path) -> ProgramJob:
    name = program.name(family)
    return ProgramJob(name, program.type, program.attach_type(family), staging / name, program.tail_call)
