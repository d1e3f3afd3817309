"""Fresh maps for a test in milliseconds: bcc compiles ``bpf/lb/maps.h`` once, every test gets copies of its own.

maps.h --(bcc in the compile child, once for a family)--> template pins --new_maps--> pins of one test
"""

import ctypes
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath import build, libbpf
from ebpflb.datapath.compile_job import Unit, compile_units
from ebpflb.datapath.layout import MAP_NAMES, SOCK_PAIRS
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.source import bpf_directory, inline_source

BPFFS = Path("/sys/fs/bpf")


class _MapCreateOpts(ctypes.Structure):
    """``struct bpf_map_create_opts`` of libbpf 1.x."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


def compile_template(family: Family, folder: Path) -> None:
    """Let bcc create and pin every map of a family, as the agent's build does."""
    folder.mkdir(parents=True)
    spec = build.BuildSpec(family, folder, folder, 250, 1, bytes(family.address_bytes), sizes=_TINY)
    directory = bpf_directory()
    # Without a function clang writes no .BTF.ext, and without that bcc loads no BTF.
    text = inline_source("lb/base.h", directory) + "int lb_nothing(void *ctx) { return 0; }\n"
    compile_units("the maps", [Unit(text, ())], spec.flags(), directory / "shim")


_TINY = build.MapSizes(64, 64, 64, 64, 1024, 64, 64, 64, 16, 16)


@cache
def _map_create() -> object:
    function = libbpf.library().bpf_map_create
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, *(ctypes.c_uint32,) * 3, ctypes.c_void_p)
    function.restype = ctypes.c_int
    return function


def copy_map(template: Path, target: Path, max_entries: int = 0) -> None:
    """Pin at ``target`` an empty map of the same types as ``template``; 0: of the same size as well."""
    _map_create()
    with libbpf.obj_get(template) as source:
        info = libbpf.map_info(source)
    with libbpf.own("open", "BTF", libbpf.call("bpf_btf_get_fd_by_id", info.btf_id)) as btf:
        options = _MapCreateOpts(
            sz=ctypes.sizeof(_MapCreateOpts),
            btf_fd=btf.fileno(),
            btf_key_type_id=info.btf_key_type_id,
            btf_value_type_id=info.btf_value_type_id,
            map_flags=info.flags,
        )
        size = max_entries or info.max_entries
        arguments = (info.type, info.name.encode(), info.key_size, info.value_size, size, ctypes.byref(options))
        with libbpf.own("create", info.name, libbpf.call("bpf_map_create", *arguments)) as copy:
            libbpf.obj_pin(copy, target)


class MapFactory:
    """Makes the maps of one instance; everything goes when the session or the test ends."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._instances: list[Pins] = []
        self._templates: dict[Family, Path] = {}

    def template(self, family: Family) -> Path:
        if family not in self._templates:
            folder = self._root / f"ipv{family.value}"
            compile_template(family, folder)
            self._templates[family] = folder
        return self._templates[family]

    def new_maps(self, family: Family, sizes: Mapping[str, int] | None = None) -> Pins:
        """Return the pins of fresh, empty maps; ``sizes`` are entries by map name."""
        template = self.template(family)
        pins = Pins(BPFFS, f"test-{uuid4().hex[:12]}")
        self._instances.append(pins)
        pins.create_folders(family)
        for name in (*MAP_NAMES, SOCK_PAIRS):
            copy_map(template / name, pins.map(family, name), (sizes or {}).get(name, 0))
        return pins

    def remove_instances(self) -> None:
        while self._instances:
            self._instances.pop().remove()

    def remove(self) -> None:
        self.remove_instances()
        shutil.rmtree(self._root)


@pytest.fixture(scope="session")
def session_maps() -> Iterator[MapFactory]:
    root = BPFFS / f"ebpflb-test-{uuid4().hex[:12]}"
    root.mkdir()
    factory = MapFactory(root)
    yield factory
    factory.remove()


@pytest.fixture
def map_factory(session_maps: MapFactory) -> Iterator[MapFactory]:
    yield session_maps
    session_maps.remove_instances()
