"""Sets up everybody who forwards frames in a measure: plain forwarding, netfilter's modes, the product, and the floors.

Decides who has which rig, rules and programs. Each has a rig of its own: what one remembers of flows and neighbours
helps or hinders nobody else, and taking turns costs nothing. Knows no figure.

    Core -> contending -> Contest: the lane of each name and way -> measures/frames.py
"""

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from ebpflb.bench.frame_lanes import SERVICE_PORT, Lane, Sink, Way, open_flows, services
from ebpflb.bench.frame_ours import serving
from ebpflb.bench.frame_rig import Rig, built
from ebpflb.bench.live_core import Core
from ebpflb.bench.live_frames import Target, swap_code
from ebpflb.bench.live_kernel import CountingProgram
from ebpflb.bench.netfilter_load import WAITING
from ebpflb.bench.rulesets import iptables_rules, nftables_rules
from ebpflb.errors import EbpflbError

FEW, MANY = 10, 10_000
"""Services."""
FORWARDING: Final = "forwarding"
LEGACY, NFT, NFTABLES = "iptables-legacy", "iptables-nft", "nftables"
SWAP, DROP = "mac-swap", "xdp-drop"
"""Floors of XDP: a frame goes back where it came from, or nowhere."""
_RULES: Final = {
    LEGACY: (["iptables-legacy-restore", *WAITING, "--noflush"], iptables_rules),
    NFT: (["iptables-nft-restore", *WAITING, "--noflush"], iptables_rules),
    NFTABLES: (["nft", "-f", "-"], nftables_rules),
}


def ours(count: int) -> str:
    """Return the product's name among so many Services."""
    return f"ebpflb-{count}"


Lanes = Mapping[tuple[str, Way], Lane]


@dataclass(frozen=True, slots=True)
class Contest:
    """Who is there."""

    lanes: Lanes
    absent: Mapping[str, str]
    """Modes that this machine has not, and why."""


@contextmanager
def contending(core: Core, counts: Sequence[int] = (FEW, MANY)) -> Iterator[Contest]:
    """Set all up, and take all away again. ``counts``: how many Services each rig of the product has."""
    with ExitStack() as undo:
        setup = _Setup(core, undo)
        rigs = {count: setup.build(ours(count)) for count in counts}
        for rig in rigs.values():
            for way in Way:
                setup.count(rig, way)  # the agent looks whether the other end takes frames from XDP
        undo.enter_context(serving([(rig, services(count)) for count, rig in rigs.items()]))
        for count, rig in rigs.items():
            setup.lanes(ours(count), rig)
        absent = {mode: why for mode in _RULES if (why := setup.netfilter(mode))}
        setup.lanes(FORWARDING, setup.build(FORWARDING), translates=False)
        setup.floors()
        yield Contest(setup.done, absent)


class _Setup:
    """Builds rigs and the lanes on them; ``undo`` takes them away."""

    def __init__(self, core: Core, undo: ExitStack) -> None:
        self.done: dict[tuple[str, Way], Lane] = {}
        self._core = core
        self._undo = undo
        self._sinks: dict[tuple[str, Way], Sink] = {}

    def build(self, name: str) -> Rig:
        """Build a rig."""
        return self._undo.enter_context(built(name))

    def count(self, rig: Rig, way: Way) -> Sink:
        """Count a way's frames where they arrive in its backend's namespace."""
        if (rig.id, way) not in self._sinks:
            self._sinks[rig.id, way] = self._sink(way.home(rig), "eth0", way.endpoint, in_stack=way is Way.STACK)
        return self._sinks[rig.id, way]

    def lanes(self, name: str, rig: Rig, *, translates: bool = True) -> None:
        """Add a lane for each way, with its flows established. ``translates``: frames go to the Service."""
        for way in Way:
            target = Target(way.service.address, SERVICE_PORT) if translates else way.endpoint
            if translates:
                open_flows(self._core, rig, way, target)
            self._add(name, rig, way, target, sink=self.count(rig, way))

    def netfilter(self, mode: str) -> str:
        """Add one of netfilter's modes; return why it is absent, if it is."""
        command, rules = _RULES[mode]
        if shutil.which(command[0]) is None:
            return f"{command[0]} is not installed"
        rig = self.build(mode)
        try:
            rig.run(rig.node, command, rules(services(FEW)))
        except EbpflbError as error:
            return error.message
        self.lanes(mode, rig)
        return ""

    def floors(self) -> None:
        """Add what no load balancer does better: sending a frame back at once, and dropping it at once."""
        way = Way.REMOTE
        target = Target(way.service.address, SERVICE_PORT)
        rig = self.build(SWAP)
        swap = self._undo.enter_context(CountingProgram("bench_swap", lambda _counter: swap_code()))
        self._core.run(rig.node, partial(_attach, swap, "uplink0"))
        sink = self._sink(rig.client, "eth0", target)
        self._add(SWAP, rig, way, target, sink=sink)
        rig = self.build(DROP)
        sink = self._sink(rig.node, "uplink0", target)
        self._add(DROP, rig, way, target, sink=sink)

    def _sink(self, namespace: str, device: str, target: Target, *, in_stack: bool = False) -> Sink:
        sink = Sink(self._core, namespace, device, target, in_stack=in_stack)
        self._undo.callback(sink.close)
        return sink

    def _add(self, name: str, rig: Rig, way: Way, target: Target, *, sink: Sink) -> None:
        lane = Lane(self._core, rig, way, target, sink=sink)
        self._undo.callback(lane.close)
        self.done[name, way] = lane


def _attach(program: CountingProgram, device: str) -> None:
    program.attach(socket.if_nametoindex(device))
