"""A bench for one family and protocol: steps as a person would write them down, checked as whole packets and counts.

delivers(Hook.UPLINK_IN, Wire("client:4000", "node:30080"), Wire("client:4000", "pod:8080"))
    --Lab.play--> verdict, whole frame, counters
"""

from collections import Counter as Bag
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import pytest
from _pytest.mark.structures import ParameterSet

from ebpflb.core.abi import Counter, Family, FlowFlag, FlowSeen, Protocol
from tests.prog.harness import SIZES, Datapath, Hook, Outcome, Verdict
from tests.prog.rows import Flow, FlowKey
from tests.prog.services import BACKEND_IDS, GENERATION, PLAIN_NODE, SERVICE_ID, Node, Service, tables
from tests.prog.wire import Wire, build
from tests.prog.world import Device, packed


@dataclass(frozen=True, slots=True)
class Step:
    """One packet: where it shows up, what it must become, what is counted for it."""

    hook: Hook
    packet: Wire
    verdict: Verdict
    out: Wire | None
    """None: dropped, its bytes are of no interest."""
    counts: tuple[Counter, ...]
    device: Device

    def opening(self) -> "Step":
        """Return the step as one that also creates a flow."""
        return replace(self, counts=(*self.counts, Counter.FLOW_CREATED))

    def confirming(self) -> "Step":
        """Return the step of the packet that confirms its flow: the client's next one after an answer."""
        return self.also(Counter.FLOW_CONFIRMED)

    def also(self, *counters: Counter) -> "Step":
        """Return the step with more counters."""
        return replace(self, counts=(*self.counts, *counters))


def _device(hook: Hook) -> Device:
    return Device.POD if hook is Hook.POD_IN else Device.UPLINK


def passes(hook: Hook, packet: Wire) -> Step:
    """Not ours: the packet stays as it is."""
    return Step(hook, packet, Verdict.NEXT, packet, (Counter.PASSED,), _device(hook))


def delivers(hook: Hook, packet: Wire, out: Wire) -> Step:
    """Rewritten, the stack goes on; at ``OUT`` that is a reply restored."""
    counter = Counter.REPLY_RESTORED if hook is Hook.OUT else Counter.DELIVERED
    return Step(hook, packet, Verdict.NEXT, out, (counter,), _device(hook))


def forwards(packet: Wire, out: Wire, hook: Hook = Hook.UPLINK_IN) -> Step:
    """Rewritten and sent on: the TTL goes down by one."""
    return Step(hook, packet, Verdict.REDIRECT, out.with_ttl(packet.ttl - 1), (Counter.FORWARDED,), _device(hook))


def hairpins(packet: Wire, out: Wire) -> Step:
    """Rewritten and sent back to the pod it came from."""
    out = replace(out, swapped=True)
    return Step(Hook.POD_IN, packet, Verdict.REDIRECT, out, (Counter.HAIRPINNED,), Device.POD)


def drops(hook: Hook, packet: Wire, reason: Counter) -> Step:
    """Dropped for a reason."""
    return Step(hook, packet, Verdict.DROP, None, (reason,), _device(hook))


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation: services, then packets in order."""

    name: str
    services: tuple[Service, ...]
    steps: tuple[Step, ...]
    families: tuple[Family, ...] = tuple(Family)
    protocols: tuple[Protocol, ...] = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
    devices: Mapping[Device, str] | None = None
    """SNAT addresses; None: the uplink has the node's."""
    node: Node = PLAIN_NODE
    prepare: "Callable[[Lab], object]" = id
    """Is called when the services are loaded."""


def params(rows: Iterable[Row]) -> list[ParameterSet]:
    """Return the rows for ``parametrize("row, family, protocol", ...)``, each in every family and protocol it has."""
    return [
        pytest.param(row, family, protocol, id=f"{row.name}, {family.name}, {protocol.name}")
        for row in rows
        for family in row.families
        for protocol in row.protocols
    ]


SNAT_PORTS = range(32768, 65536)
"""LB_SNAT_PORT_MIN to LB_SNAT_PORT_MAX of bpf/lb/config.h."""


class Lab:
    """The programs of one family, seen through packets of one protocol."""

    def __init__(self, datapath: Datapath, protocol: Protocol) -> None:
        self.datapath = datapath
        self.family = datapath.family
        self.protocol = protocol

    def load(
        self,
        *services: Service,
        draining: Iterable[str] = (),
        generations: Mapping[str, int] | None = None,
        devices: Mapping[Device, str] | None = None,
        xdp: bool = True,
        node: Node = PLAIN_NODE,
    ) -> None:
        """Have these services and no others; what flows and affinity hold stays."""
        self.datapath.load(
            tables(
                self.family,
                self.protocol,
                services,
                draining=draining,
                generations=generations,
                devices=devices,
                xdp=xdp,
                node=node,
            )
        )

    def play_row(self, row: Row) -> None:
        """Load a row's services, then play its steps."""
        self.load(*row.services, devices=row.devices, node=row.node)
        row.prepare(self)
        self.play(*row.steps)

    def frame(self, wire: Wire) -> bytes:
        """Return a packet's bytes."""
        return build(wire, self.family, self.protocol)

    def run(self, hook: Hook, wire: Wire, device: Device | None = None) -> Outcome:
        """Run a program on one packet."""
        return self.datapath.run(hook, self.frame(wire), _device(hook) if device is None else device)

    def play(self, *steps: Step) -> None:
        """Send each packet and compare all that comes of it."""
        for number, step in enumerate(steps, start=1):
            before = Bag(self.datapath.counters())
            outcome = self.run(step.hook, step.packet, step.device)
            counted = Bag(self.datapath.counters()) - before
            assert outcome.verdict is step.verdict, f"step {number}: {counted}"
            assert counted == Bag(step.counts), f"step {number}"
            if step.out is not None:
                assert outcome.frame.hex() == self.frame(step.out).hex(), f"step {number}"

    def chosen(self, hook: Hook, packet: Wire) -> str:
        """Send a first packet; return the backend that its flow got."""
        (name,) = self.spread(hook, [packet])
        return name

    def spread(self, hook: Hook, packets: Iterable[Wire]) -> Bag[str]:
        """Send first packets; return how many of their flows each backend got."""
        names = {number: name for name, number in BACKEND_IDS.items()}
        keys = [self.key(packet.src, packet.dst) for packet in packets if self.run(hook, packet)]
        flows = self.datapath.flows()
        return Bag(names[flows[key].backend_id] for key in keys)

    def take_ports(self, backend: str, own_port: int, name: str = "flows") -> dict[FlowKey, Flow]:
        """Have every source port taken that could be tried towards a remote backend; return the rows."""
        flags = FlowFlag.REPLY | FlowFlag.FORWARD
        row = self.flow("cluster:80", "client2:9", backend=backend, flags=flags, seen=FlowSeen.DATA)
        rows = {self.key(f"{backend}:8080", f"node:{port}"): row for port in chain([own_port], SNAT_PORTS)}
        self.datapath.put_flows(rows, name)
        return rows

    def fill_flows(self, room: int = 0) -> dict[FlowKey, Flow]:
        """Leave room for so many rows in the flow table; return the rows that were added."""
        row = self.flow("cluster:80", "client:9", backend="pod", flags=FlowFlag.REPLY, seen=FlowSeen.DATA)
        ends = packed("pod", self.family), packed("pod2", self.family)
        numbers = range(SIZES.flows - room - len(self.datapath.flows()))
        rows = {FlowKey(ends[0], number >> 16, ends[1], number & 0xFFFF, self.protocol): row for number in numbers}
        self.datapath.put_flows(rows)
        return rows

    def endpoint(self, text: str) -> tuple[bytes, int]:
        """Return the address and port of ``name:port``."""
        name, _colon, port = text.rpartition(":")
        return packed(name, self.family), int(port)

    def key(self, source: str, destination: str) -> FlowKey:
        """Return a flow's key."""
        return FlowKey(*self.endpoint(source), *self.endpoint(destination), self.protocol)

    def flow(self, source: str, destination: str, *, backend: str, flags: FlowFlag, seen: FlowSeen) -> Flow:
        """Return a flow's value: what the packet becomes, and the rest."""
        ends = (*self.endpoint(source), *self.endpoint(destination))
        return Flow(*ends, BACKEND_IDS[backend], GENERATION, SERVICE_ID, flags, seen)
