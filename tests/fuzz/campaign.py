"""The loop: mutate, run, compare, put back what the packet changed.

    Campaign.run(packets) --> None, or the first Mismatch with all that is needed to see it again

Most packets change no row, so rows are looked at only after those that must change one; every so many packets all
rows and all counters are compared, which finds what changed though it must not have.
"""

from collections import Counter as Bag
from dataclasses import dataclass
from random import Random

from ebpflb.core.abi import Counter, Family
from tests.fuzz.decision import Act, Decision
from tests.fuzz.kernel import Programs, Runner
from tests.fuzz.mutations import Mutator
from tests.fuzz.reference import Reference
from tests.fuzz.render import render
from tests.fuzz.rows import Hook, World
from tests.fuzz.seeds import Seed
from tests.fuzz.settle import settle
from tests.fuzz.state import State

_NEXT, _DROP, _REDIRECT = 0xFFFFFFFF, 2, 7
_XDP_DROP, _XDP_PASS, _XDP_TX, _XDP_REDIRECT = 1, 2, 3, 4
RETURNS = dict.fromkeys(Act, _REDIRECT) | {Act.PASS: _NEXT, Act.DELIVER: _NEXT, Act.DROP: _DROP}
_CHECK_EVERY = 1024
"""Packets; no row may grow old between two checks, however busy the machine is."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A packet on which program and reference differ."""

    family: Family
    seed: Seed
    frame: bytes
    what: str
    decision: Decision | None

    @property
    def kind(self) -> tuple[object, ...]:
        """Return what mismatches of one cause have in common, as a rule."""
        work = self.decision.work if self.decision else None
        packet = work.packet if work else None
        shape = (packet.kind, packet.protocol, bool(packet.outer_daddr)) if packet else ()
        return (self.what.split("[")[0].split()[0], self.decision and self.decision.act, shape)

    def __str__(self) -> str:
        """Return a reproducer for people."""
        decision = self.decision
        lines = [
            f"{self.seed.hook}{self.family.value} device={self.seed.device.name} is_own={self.seed.is_own}",
            f"  frame    {self.frame.hex()}",
            f"  from     {self.seed.frame.hex()}",
            f"  {self.what}",
        ]
        if decision is not None:
            packet = decision.work.packet if decision.work else None
            lines.append(f"  decision {decision.act.name} reason={decision.reason} flow={decision.flow}")
            lines.append(f"  packet   {packet}")
        return "\n".join(lines)


class Campaign:
    """One program under one world."""

    def __init__(self, world: World, programs: Programs, hook: Hook, seeds: list[Seed], random_seed: str) -> None:
        self._world, self._hook = world, hook
        self._state = State(world, programs)
        self._reference = Reference(world)
        self._runner: Runner = programs.runner(hook)
        self._seeds = [seed for seed in seeds if seed.hook is hook]
        self._random = Random(random_seed)
        self._mutator = Mutator(world, self._random)
        self._counted = [0] * len(Counter)
        self._recent: list[tuple[Seed, bytes]] = []
        self.acts: Bag[Act] = Bag()
        self.sent = 0

    def install(self) -> None:
        """Have the maps hold the world, and no other flows."""
        self._state.install()
        self._baseline = self._state.counters()
        self._counted = [0] * len(Counter)
        self._recent.clear()

    def run(self, packets: int) -> Mismatch | None:
        """Send so many packets; return the first mismatch."""
        seeds, bits, mutate = self._seeds, self._random.getrandbits, self._mutator.mutate
        recent = self._recent
        for number in range(1, packets + 1):
            seed = seeds[bits(24) % len(seeds)]
            frame = mutate(seed.frame)
            recent.append((seed, frame))
            self.sent += 1
            found = self.check(seed, frame)
            if found is None and (number % _CHECK_EVERY == 0 or number == packets):
                found = self._check_all()
            if found is not None:
                return found
        return None

    def check(self, seed: Seed, frame: bytes) -> Mismatch | None:
        """Send one frame and compare all that comes of it; afterwards the rows are as before."""
        returned = self._runner.run(frame, seed.device, is_own=seed.is_own)
        decision = self._reference.decide(seed.hook, frame, seed.device, is_own=seed.is_own)
        counts = settle(decision, seed.hook, self._world.family)
        counted = self._counted
        for counter in counts:
            counted[counter] += 1
        self.acts[decision.act] += 1
        what = self._difference(seed, frame, returned, decision)
        if decision.work is not None and decision.work.changes:
            self._state.restore(decision.work.changes)
        return None if what is None else Mismatch(self._world.family, seed, frame, what, decision)

    def _difference(self, seed: Seed, frame: bytes, returned: int, decision: Decision) -> str | None:
        act, work = decision.act, decision.work
        if returned != self._expected_return(seed, decision):
            return f"returned {returned}, expected {act.name}; it left {self._runner.frame().hex()}"
        if work is not None and work.takes_any_port:
            wrong = self._state.settle_port(work)
            if wrong is not None:
                return wrong
            if decision.flow is not None:
                decision.flow = work.flow("pending", work.packet.key)
        wrong = self._state.check(work.changes) if work is not None and work.changes else None
        if wrong is not None or act is Act.DROP:
            return wrong
        expected = frame if act is Act.PASS else render(decision, self._world.family)
        got = self._runner.frame()
        return None if got == expected else f"got      {got.hex()}\n  expected {expected.hex()}"

    def _expected_return(self, seed: Seed, decision: Decision) -> int:
        if seed.hook is not Hook.XDP_IN:
            return RETURNS[decision.act]
        if decision.route is not None and decision.act is Act.FORWARD:
            return _XDP_TX if decision.route.device == seed.device else _XDP_REDIRECT
        return _XDP_DROP if decision.act is Act.DROP else _XDP_PASS

    def _check_all(self) -> Mismatch | None:
        """Compare every row and counter; forget the packets that were right."""
        what = self._all_differences()
        if what is None:
            self._recent.clear()
            self._state.refresh()
            return None
        recent = list(self._recent)
        self.install()
        for seed, frame in recent:  # one of these: look closely
            found = self.check(seed, frame)
            wrong = self._all_differences()
            if found is not None or wrong is not None:
                decision = self._reference.decide(seed.hook, frame, seed.device, is_own=seed.is_own)
                return found or Mismatch(self._world.family, seed, frame, wrong or "", decision)
        seed, frame = recent[-1]
        return Mismatch(self._world.family, seed, frame, f"after one of {len(recent)} packets: {what}", None)

    def _all_differences(self) -> str | None:
        counters = self._state.counters()
        wrong = [
            f"{counter.name} counted {counters[counter] - before}, expected {self._counted[counter]}"
            for counter, before in self._baseline.items()
            if counters[counter] - before != self._counted[counter]
        ]
        return "; ".join([*wrong, *self._state.differences()]) or None
