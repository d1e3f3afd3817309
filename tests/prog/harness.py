"""The real programs of one family, loaded and pinned, with their maps: rows in, packets through, rows and counts out.

    Tables --load--> maps        frame --run--> (verdict, frame)        maps --> flows, affinity, counters

Knows the ABI of a test run and of the maps that programs write; no Service, no translation.
"""

import ctypes
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from enum import IntEnum, StrEnum
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import numpy as np

from ebpflb.core.abi import Counter, Family, FlowSeen
from ebpflb.core.tables import TableName, Tables
from ebpflb.datapath import libbpf
from ebpflb.datapath.build import Build, BuildSpec, MapSizes, build_programs, remove_build
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import BPF_PROG_TYPE_SCHED_CLS, XDP_IN
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.errors import MapError
from ebpflb.host.features import SET_RETVAL, probe_feature
from ebpflb.host.finding import Level
from tests.prog.fixtures_maps import BPFFS
from tests.prog.rows import Affinity, Flow, FlowKey, pack_addresses, unpack
from tests.prog.second_hook import noting_program
from tests.prog.world import Device, Namespace, packed

SIZES = MapSizes(
    frontends=64,
    backends=64,
    services=64,
    members=64,
    slots=1024,
    flows=33_000,  # room for a flow on every source port that SNAT may use
    affinity=64,
    sockets=64,
    node_addrs=16,
    devices=16,
    pending=66_000,
    datagrams=4096,  # more than are in flight at once in any test: none gives way
    held_fragments=256,
    local_backends=16,
    source_ranges=16,
    opt_outs=16,
    service_cidrs=16,
)
HOST_NETNS_COOKIE = 1
NODES_OWN = 0
"""By no device: how the node's own packets came in."""

# struct __sk_buff of <linux/bpf.h>: all fields up to gso_size are u32. A test run takes a few and demands that the
# others be zero.
_SKB_BYTES = 192
_SKB_INGRESS_IFINDEX = 36
_SKB_IFINDEX = 40


class Hook(StrEnum):
    """The packet programs, by their stems."""

    UPLINK_IN = "lb_uplink_in"
    POD_IN = "lb_pod_in"
    OUT = "lb_out"


class Verdict(IntEnum):
    """What a tc program returns (``TC_ACT_*``)."""

    NEXT = -1
    DROP = 2
    REDIRECT = 7


class XdpVerdict(IntEnum):
    """What an XDP program returns (``enum xdp_action``)."""

    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


class XdpOutcome(NamedTuple):
    """What became of a frame at XDP."""

    verdict: XdpVerdict
    frame: bytes


class Outcome(NamedTuple):
    """What became of a packet."""

    verdict: Verdict
    frame: bytes


@cache
def takes_ingress_ifindex() -> bool:
    """Say whether a test run can name the device that a packet came in by (not on 5.10: all are the node's own)."""
    ctx = bytearray(_SKB_BYTES)
    struct.pack_into("=I", ctx, _SKB_INGRESS_IFINDEX, Device.UPLINK)
    return_0 = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    with libbpf.load_program(BPF_PROG_TYPE_SCHED_CLS, "probe", return_0) as program:
        try:
            libbpf.prog_test_run(program, bytes(64), ctx=bytes(ctx))
        except MapError:
            return False
    return True


_FLOW_MAPS = ("flows", "pending")
_PROGRAM_MAPS = (*_FLOW_MAPS, "affinity", "counters", "datagrams", "held_fragments")


class Datapath:
    """One family's programs and maps under an instance of their own. A context manager."""

    def __init__(self, family: Family, namespace: Namespace, clock: JiffiesClock, sizes: MapSizes = SIZES) -> None:
        self.family = family
        self._sizes = sizes
        self.clock = clock
        self._cleared = clock.now_jiffies()
        self.pins = Pins(BPFFS, f"progtest-{uuid4().hex[:12]}")
        self.namespace = namespace
        self._open = ExitStack()
        keep = self._open.enter_context
        try:
            spec = self._spec()
            self._tc_index = spec.tc_index
            self.build: Build = build_programs(spec)
            self._programs = {hook: keep(libbpf.obj_get(self.build.pins[hook])) for hook in Hook}
            self._xdp = keep(libbpf.obj_get(self.build.pins[XDP_IN.stem]))
            self._store = keep(PinnedMapStore(self.pins, family))
            self._maps = {name: keep(open_map(self.pins, family, name)) for name in _PROGRAM_MAPS}
        except BaseException:
            self.close()
            raise

    def _spec(self) -> BuildSpec:
        self.pins.create_folders(self.family)
        return BuildSpec(
            self.family,
            self.pins.maps(self.family),
            self.pins.progs(self.family),
            hz=self.clock.hz,
            host_netns_cookie=HOST_NETNS_COOKIE,
            hairpin_address=packed("hairpin", self.family),
            have_set_retval=probe_feature(SET_RETVAL).level is Level.OK,
            sizes=self._sizes,
        )

    def close(self) -> None:
        """Close and unpin everything."""
        self._open.close()
        remove_build(self.pins.progs(self.family))
        self.pins.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, tables: Tables) -> None:
        """Make the maps hold these rows and no others; flows and affinity stay."""
        actual = self._store.read()
        for table in TableName:
            assert not self._store.delete(table, actual.rows(table).keys() - tables.rows(table).keys())
            assert not self._store.put(table, tables.rows(table))
        self._store.write_slots(tables.slots)

    def clear(self) -> None:
        """Forget every flow, every affinity and every fragment."""
        for name in (*_FLOW_MAPS, "affinity", "datagrams", "held_fragments"):
            assert not self._maps[name].delete(self._maps[name].read()[0])
        self._forget_shortcuts()
        self._cleared = self.clock.now_jiffies()

    def elapsed(self) -> int:
        """Return for how many jiffies the lab has been in use since it was cleared: no row of a test's is older."""
        return (self.clock.now_jiffies() - self._cleared) & 0xFFFFFFFF

    def _forget_shortcuts(self) -> None:
        """Have programs ask for what they have kept of flows: a write of no devices counts as one, too."""
        assert not self._store.put(TableName.DEVICES, {})

    def run(
        self, hook: Hook, frame: bytes, device: Device = Device.UPLINK, *, came_in_by: int = Device.UPLINK
    ) -> Outcome:
        """Run a program on a frame as if a device had received it, or were about to send it.

        What did not come in by a device (``NODES_OWN``) is the node's own.
        """
        return self._run(self._programs[hook], frame, device, came_in_by)

    def run_again(self, frame: bytes, device: Device, *, note: int = 0) -> Outcome:
        """Run ``lb_out`` on what it has translated and sent to another device; ``note``: another instance's."""
        with noting_program(self._programs[Hook.OUT], note or self._tc_index) as program:
            return self._run(program, frame, device, NODES_OWN)

    def _run(self, program: libbpf.Handle, frame: bytes, device: Device, came_in_by: int) -> Outcome:
        ctx = bytearray(_SKB_BYTES)
        if takes_ingress_ifindex():
            struct.pack_into("=I", ctx, _SKB_INGRESS_IFINDEX, came_in_by)
        struct.pack_into("=I", ctx, _SKB_IFINDEX, device)
        with self.namespace.entered():
            result = libbpf.prog_test_run(program, frame, ctx=bytes(ctx))
        return Outcome(Verdict(ctypes.c_int32(result.retval).value), result.data)

    def run_xdp(self, frame: bytes, device: Device) -> XdpOutcome:
        """Run the XDP program on a frame as if a device had received it."""
        ctx = struct.pack("=6I", 0, len(frame), 0, device, 0, 0)  # struct xdp_md
        with self.namespace.entered():
            result = libbpf.prog_test_run(self._xdp, frame, ctx=ctx)
        return XdpOutcome(XdpVerdict(result.retval), result.data)

    def counters(self) -> dict[Counter, int]:
        """Return the counters that are not zero, all CPUs added up."""
        keys, values = self._maps["counters"].read()
        totals = values.sum(axis=1).tolist()
        return {Counter(key): total for key, total in zip(keys.tolist(), totals, strict=True) if total}

    def flows(self) -> dict[FlowKey, Flow]:
        """Return the flows, pending and confirmed; asserts that every row was seen since the lab was cleared."""
        return self.pending() | self.confirmed()

    def confirmed(self) -> dict[FlowKey, Flow]:
        """Return the rows of ``flows``."""
        return self._read_flows("flows")

    def pending(self) -> dict[FlowKey, Flow]:
        """Return the rows of ``pending`` that have not moved."""
        rows = self._read_flows("pending")
        return {key: flow for key, flow in rows.items() if not flow.seen & FlowSeen.MOVED}

    def _read_flows(self, name: str) -> dict[FlowKey, Flow]:
        keys, values = self._maps[name].read()
        assert (self.ages(values["last_seen"]) <= self.elapsed()).all()
        return dict(zip(unpack(FlowKey, keys), unpack(Flow, values), strict=True))

    def put_flows(self, rows: Mapping[FlowKey, Flow], table: str = "flows") -> None:
        """Write flow entries as a program would have, seen just now."""
        layout = self._maps[table].layout
        keys, values = np.zeros(len(rows), layout.key), np.zeros(len(rows), layout.value)
        values["last_seen"] = self.clock.now_jiffies()
        for names, array, source in ((FlowKey._fields, keys, rows), (Flow._fields, values, rows.values())):
            for name, column in zip(names, zip(*source, strict=True), strict=True):
                array[name] = pack_addresses(column) if name.endswith("addr") else column
        assert not self._maps[table].update(keys, values)
        self._forget_shortcuts()

    def held_fragments(self) -> int:
        """Return how many fragments wait."""
        return len(self._maps["held_fragments"].read()[0])

    def age_datagrams(self, jiffies: int) -> None:
        """Have every datagram last seen, and every fragment put to wait, that long ago."""
        self._age("datagrams", "last_seen", jiffies)
        self._age("held_fragments", "held_at", jiffies)

    def forget_datagrams(self) -> None:
        """Lose the notes of all datagrams, as they give way to newer ones; what waits, waits."""
        assert not self._maps["datagrams"].delete(self._maps["datagrams"].read()[0])

    def forget_fragment(self, number: int) -> None:
        """Lose the waiting fragment of this number, of each datagram."""
        keys, _values = self._maps["held_fragments"].read()
        assert not self._maps["held_fragments"].delete(keys[keys["number"] == number])

    def affinities(self) -> list[Affinity]:
        """Return the rows of ``affinity``."""
        keys, values = self._maps["affinity"].read()
        return [
            Affinity(
                client=key["client"].tobytes(),
                service_id=int(key["service_id"]),
                netns_cookie=int(key["netns_cookie"]),
                backend_id=int(value["backend_id"]),
                generation=int(value["generation"]),
                age=int(age),
            )
            for key, value, age in zip(keys, values, self.ages(values["last_used"]), strict=True)
        ]

    def age_affinities(self, jiffies: int) -> None:
        """Have every affinity last used that long ago."""
        self._age("affinity", "last_used", jiffies)

    def age_flows(self, jiffies: int) -> None:
        """Have every flow entry last seen that long ago."""
        for name in _FLOW_MAPS:
            self._age(name, "last_seen", jiffies)

    def flow_ages(self) -> dict[FlowKey, int]:
        """Return how many jiffies ago each flow entry was seen."""
        ages: dict[FlowKey, int] = {}
        for name in reversed(_FLOW_MAPS):
            keys, values = self._maps[name].read()
            ages |= dict(zip(unpack(FlowKey, keys), self.ages(values["last_seen"]).tolist(), strict=True))
        return ages

    def _age(self, name: str, field: str, jiffies: int) -> None:
        keys, values = self._maps[name].read()
        values[field] = (self.clock.now_jiffies() - jiffies) & 0xFFFFFFFF
        assert not self._maps[name].update(keys, values)
        self._forget_shortcuts()

    def ages(self, stamps: Any) -> Any:
        """Return how many jiffies ago each stamp was taken."""
        return np.uint32(self.clock.now_jiffies()) - stamps.astype(np.uint32)
