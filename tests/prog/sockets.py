"""The socket programs at work: cgroups that have them, two network namespaces, and calls made there.

    Tables --load--> maps    call(place, function) --fork, join cgroup, enter namespace--> what the function returned

Each call is a process of its own, which ends with its sockets. Knows no Service; nothing belongs to the machine.
"""

import ctypes
import os
import pickle
import select
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar
from uuid import uuid4

from ebpflb.bench.cgroups import find_mount, remove_tree
from ebpflb.core.abi import Counter, Family
from ebpflb.core.tables import TableName, Tables
from ebpflb.datapath.build import Build, BuildSpec, build_programs
from ebpflb.datapath.cgroup import attach_cgroup
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import SOCKET_PROGRAMS, programs_of
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.host import syscalls
from ebpflb.host.features import SET_RETVAL, probe_feature
from ebpflb.host.finding import Level
from ebpflb.host.netns_cookie import netns_cookie
from tests.prog.fixtures_maps import BPFFS
from tests.prog.harness import SIZES
from tests.prog.world import address, packed

OWN_ADDRESSES = ("node", "cluster", "pod", "pod2", "stranger")
"""Both namespaces have them: what nobody translates arrives where it was sent."""
PATIENCE_S = 60
"""For what comes in any case."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Place(StrEnum):
    """A network namespace."""

    HOST = "host"
    """The one that the programs know as the host's."""
    POD = "pod"


class SocketLab:
    """Programs of both families, and a cgroup for each selection of them. A context manager."""

    def __init__(self, **constants: Any) -> None:
        """``constants`` are other fields of the ``BuildSpec``."""
        self._open = ExitStack()
        self._constants = {"have_set_retval": probe_feature(SET_RETVAL).level is Level.OK, **constants}
        self._pins = Pins(BPFFS, f"progtest-{uuid4().hex[:12]}")
        self._namespaces = {place: self._open.enter_context(_namespace()) for place in Place}
        self._open.callback(self._pins.remove)
        self._cgroups: dict[tuple[Family, ...], Path] = {}
        self._families: tuple[Family, ...] = ()
        try:
            self._cgroup_with()
            self.cookies = {place: self.call(place, _own_cookie) for place in Place}
            self._builds = {family: self._build(family) for family in Family}
            self._stores = {family: self._open.enter_context(PinnedMapStore(self._pins, family)) for family in Family}
        except BaseException:
            self.close()
            raise

    def serve(self, *families: Family) -> None:
        """From now on, have calls meet the programs of these families, and no others."""
        if families not in self._cgroups:
            self._cgroup_with(*families)
        self._families = families

    def _cgroup_with(self, *families: Family) -> None:
        name = "-".join([self._pins.instance, *(str(family.value) for family in families)])
        cgroup = self._cgroups[families] = self._open.enter_context(_cgroup(name))
        for family in families:
            links = self._pins.links(family) / name
            links.mkdir()
            names = {
                each.name(family): self._builds[family].pins[each.stem] for each in programs_of(family, SOCKET_PROGRAMS)
            }
            attach_cgroup(names, cgroup, links)

    def _build(self, family: Family) -> Build:
        pins = self._pins
        pins.create_folders(family)
        spec = BuildSpec(
            family,
            pins.maps(family),
            pins.progs(family),
            hz=250,
            host_netns_cookie=self.cookies[Place.HOST],
            hairpin_address=packed("hairpin", family),
            sizes=replace(SIZES, sockets=4096),  # an LRU map smaller than its CPUs' shares forgets too early
            **self._constants,
        )
        return build_programs(spec, SOCKET_PROGRAMS)

    def close(self) -> None:
        """Remove everything."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def load(self, tables: Tables) -> None:
        """Make the maps of a family hold these rows and no others; forget all sockets."""
        self.put(tables)
        for name in ("sock_origins", "sock_choices"):
            with open_map(self._pins, tables.family, name) as opened:
                assert not opened.delete(opened.read()[0])

    def put(self, tables: Tables) -> None:
        """Make the maps of a family hold these rows and no others."""
        store = self._stores[tables.family]
        actual = store.read()
        for table in TableName:
            assert not store.delete(table, actual.rows(table).keys() - tables.rows(table).keys())
            assert not store.put(table, tables.rows(table))
        store.write_slots(tables.slots)

    def call(
        self,
        place: Place,
        function: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> _Result:
        """Have a process call the function at a place; return what it returned, or raise what it raised."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._end_as(writer, place, lambda: function(*arguments, **options))
        os.close(writer)
        with open(reader, "rb") as answer:  # noqa: PTH123 - a descriptor
            said = answer.read()
        os.waitpid(child, 0)
        is_good, outcome = pickle.loads(said)
        if not is_good:
            raise outcome
        result: _Result = outcome
        return result

    def _end_as(self, writer: int, place: Place, function: Callable[[], object]) -> None:
        """Be the child: nothing of the parent's may run here, so there is no way out but ``_exit``."""
        outcome: tuple[bool, object]
        try:
            (self._cgroups[self._families] / "cgroup.procs").write_text(str(os.getpid()))
            syscalls.setns(self._namespaces[place], syscalls.CLONE_NEWNET)
            outcome = True, function()
        except BaseException as error:  # noqa: BLE001 - raised again by the parent
            outcome = False, error
        with open(writer, "wb") as answer:
            pickle.dump(outcome, answer)
        os._exit(0)

    def counters(self, family: Family) -> dict[Counter, int]:
        """Return the counters that are not zero, all CPUs added up."""
        with open_map(self._pins, family, "counters") as opened:
            keys, values = opened.read()
        totals = values.sum(axis=1).tolist()
        return {Counter(key): total for key, total in zip(keys.tolist(), totals, strict=True) if total}

    @contextmanager
    def counted(self, family: Family) -> Iterator[dict[Counter, int]]:
        """Give the counts of what the block did, complete when it is over."""
        before = self.counters(family)
        counts: dict[Counter, int] = {}
        yield counts
        after = self.counters(family)
        counts |= {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}

    def remembered(self, family: Family) -> dict[str, int]:
        """Return how many entries there are about sockets."""
        sizes = {}
        for name in ("sock_origins", "sock_choices"):
            with open_map(self._pins, family, name) as opened:
                sizes[name] = len(opened.read()[0])
        return sizes


def _own_cookie() -> int:
    cookie = netns_cookie()
    assert cookie is not None, "this kernel does not tell namespaces apart (SO_NETNS_COOKIE, 5.14)"
    return cookie


def mapped(text: str) -> str:
    """Return an IPv4 address as IPv6 sockets name it."""
    return f"::ffff:{text}"


def first_asked(servers: Iterable[socket.socket]) -> socket.socket:
    """Wait until something comes, which a busy machine may deliver after the call that sent it; return to whom."""
    found, _, _ = select.select(list(servers), [], [], PATIENCE_S)
    assert len(found) == 1, found
    (asked,) = found
    assert isinstance(asked, socket.socket)
    return asked


@contextmanager
def _cgroup(name: str) -> Iterator[Path]:
    folder = find_mount() / name
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_tree(folder)


@contextmanager
def _namespace() -> Iterator[int]:
    with ThreadPoolExecutor(max_workers=1) as thread:  # only a thread that ends may change its namespace for good
        descriptor = thread.submit(_make_namespace).result()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make_namespace() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(syscalls.CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare a network namespace")
    own = [address(name, family) for family in Family for name in OWN_ADDRESSES]
    lines = ["link set lo up", *(f"address add {each} dev lo{' nodad' if ':' in each else ''}" for each in own)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
