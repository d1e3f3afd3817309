"""The loop: mutate, run, compare, put back what the packet changed.

    Campaign.run(packets) --> None, or the first Mismatch with all that is needed to see it again

Most packets change no row, so rows are looked at only after those that must change one; every so many packets all
rows and all counters are compared, which finds what changed though it must not have.
"""

from collections import Counter as Bag
from dataclasses import dataclass
from random import Random
from time import monotonic

from ebpflb.core.abi import Counter, Family
from tests.fuzz.kernel import Programs, Runner
from tests.fuzz.mutations import Mutator
from tests.fuzz.packing import flow_key, flow_value, rows_of, unpack_flow
from tests.fuzz.reference import SNAT_PORTS, Act, Decision, Reference
from tests.fuzz.render import render
from tests.fuzz.rows import Flow, FlowKey, Hook, World, reverse
from tests.fuzz.seeds import Seed

_NEXT, _DROP, _REDIRECT = 0xFFFFFFFF, 2, 7
RETURNS = {
    Act.PASS: _NEXT,
    Act.DELIVER: _NEXT,
    Act.FORWARD: _REDIRECT,
    Act.HAIRPIN: _REDIRECT,
    Act.REJECT: _REDIRECT,
    Act.DROP: _DROP,
}
_CHECK_EVERY = 4096


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A packet on which program and reference differ."""

    family: Family
    seed: Seed
    frame: bytes
    what: str
    decision: Decision | None

    def __str__(self) -> str:
        """Return a reproducer for people."""
        lines = [
            f"{self.seed.hook}{self.family.value} device={self.seed.device.name} is_own={self.seed.is_own}",
            f"  frame    {self.frame.hex()}",
            f"  from     {self.seed.frame.hex()}",
            f"  {self.what}",
            f"  decision {self.decision}",
        ]
        return "\n".join(lines)


class Campaign:
    """One program under one world."""

    def __init__(self, world: World, programs: Programs, hook: Hook, seeds: list[Seed], random_seed: str) -> None:
        self._world, self._programs, self._maps = world, programs, programs.maps
        self._reference = Reference(world)
        self._runner: Runner = programs.runner(hook)
        self._seeds = [seed for seed in seeds if seed.hook is hook]
        self._random = Random(random_seed)
        self._mutator = Mutator(world, self._random)
        self._counted: Bag[Counter] = Bag()
        self._recent: list[tuple[Seed, bytes]] = []
        self.acts: Bag[Act] = Bag()
        self.seconds = 0.0

    def install(self) -> None:
        """Have the maps hold the world, and no other flows."""
        now = self._programs.now()
        for name, key, value in rows_of(self._world, now):
            self._maps.put(name, key, value)
        for name, rows in (("flows", self._world.flows), ("pending", self._world.pending)):
            for key in self._maps.rows(name):
                self._maps.delete(name, key)
            for key, flow in rows.items():
                self._maps.put(name, flow_key(key), flow_value(flow, now))
        self._now = now
        self._baseline = self._maps.counters()

    def run(self, packets: int) -> Mismatch | None:
        """Send so many packets; return the first mismatch."""
        began, seeds, bits, mutate = monotonic(), self._seeds, self._random.getrandbits, self._mutator.mutate
        recent = self._recent
        for number in range(1, packets + 1):
            seed = seeds[bits(24) % len(seeds)]
            frame = mutate(seed.frame)
            recent.append((seed, frame))
            found = self.check(seed, frame)
            if found is None and (number % _CHECK_EVERY == 0 or number == packets):
                found = self._check_all()
            if found is not None:
                return found
        self.seconds += monotonic() - began
        return None

    def check(self, seed: Seed, frame: bytes) -> Mismatch | None:
        """Send one frame and compare all that comes of it; afterwards the rows are as before."""
        runner = self._runner
        runner.enter_by(seed.device, 0 if seed.is_own else seed.device)
        returned = runner.run(frame)
        decision = self._reference.decide(seed.hook, frame, is_own=seed.is_own)
        act = decision.act
        self.acts[act] += 1
        self._counted[decision.counter] += 1
        if decision.also is not None:
            self._counted[decision.also] += 1
        if returned != RETURNS[act]:
            return Mismatch(self._world.family, seed, frame, f"returned {returned}, expected {act.name}", decision)
        if act is Act.PASS:
            got = runner.frame()
            if got != frame:
                return Mismatch(
                    self._world.family, seed, frame, f"got      {got.hex()}, expected it as it was", decision
                )
            return None
        what = self._check_rows(decision)
        if what is None and act is not Act.DROP:
            what = self._check_frame(decision)
        if decision.touched or decision.opened or decision.removed:
            self._restore(decision)
        return None if what is None else Mismatch(self._world.family, seed, frame, what, decision)

    def _check_frame(self, decision: Decision) -> str | None:
        expected, got = render(self._chosen(decision), self._world.family), self._runner.frame()
        if expected == got:
            return None
        return f"got      {got.hex()}\n  expected {expected.hex() if expected is not None else None}"

    def _chosen(self, decision: Decision) -> Decision:
        """Return the decision with the source port that the program chose."""
        opened = decision.opened
        if opened is None or not opened.port_is_taken or decision.flow is None:
            return decision
        value = self._maps.get("flows", flow_key(opened.request_key))
        assert value is not None
        chosen = decision.flow.with_source_port(int.from_bytes(unpack_flow(value).to[-4:-2], "big"))
        return Decision(decision.act, decision.counter, decision.packet, chosen)

    def _row(self, key: FlowKey) -> Flow | None:
        value = self._maps.get("flows", flow_key(key))
        return None if value is None else unpack_flow(value)

    def _check_rows(self, decision: Decision) -> str | None:
        opened, packet = decision.opened, decision.packet
        if decision.touched is not None and packet is not None:
            before = self._world.flows[decision.touched]
            if packet.seen & ~before.seen:
                row = self._row(decision.touched)
                if row is None or row.seen != before.seen | packet.seen:
                    return f"row {decision.touched.hex()} became {row}"
        made: set[FlowKey] = set()
        if opened is not None:
            self._counted[Counter.FLOW_CREATED] += 1
            request = self._row(opened.request_key)
            if request is None:
                return "no request entry was made"
            port = int.from_bytes(request.to[-4:-2], "big")
            wanted = opened.request.with_source_port(port) if opened.port_is_taken else opened.request
            reply_key = reverse(request.to) + opened.request_key[-1:]
            if request != wanted or (
                opened.port_is_taken and (port not in SNAT_PORTS or reply_key in self._world.flows)
            ):
                return f"request entry {request}, expected {wanted}"
            made = {opened.request_key, reply_key}
            self._made = made
            reply = self._row(reply_key)
            if reply != opened.reply:
                return f"reply entry {reply}, expected {opened.reply}"
        if decision.removed:
            self._counted[Counter.FLOW_RESELECTED] += 1
        stayed = [key for key in decision.removed if key not in made and self._row(key) is not None]
        return f"rows stayed: {stayed}" if stayed else None

    def _restore(self, decision: Decision) -> None:
        keys = set(decision.removed)
        if decision.touched is not None:
            packet = decision.packet
            if packet is not None and packet.seen & ~self._world.flows[decision.touched].seen:
                keys.add(decision.touched)
        if decision.opened is not None:
            keys |= self._made
        for key in keys:
            flow = self._world.flows.get(key)
            if flow is None:
                self._maps.delete("flows", flow_key(key))
            else:
                self._maps.put("flows", flow_key(key), flow_value(flow, self._now))

    def _check_all(self) -> Mismatch | None:
        """Compare every row and counter; forget the packets that were right."""
        counted = {counter: total - self._baseline[counter] for counter, total in enumerate(self._maps.counters())}
        wanted = {counter: self._counted[counter] for counter in Counter}
        wrong = {
            Counter(at).name: (counted[at], wanted[Counter(at)]) for at in counted if counted[at] != wanted[Counter(at)]
        }
        rows = {key[:-3]: unpack_flow(value) for key, value in self._maps.rows("flows").items()}
        differing = {
            key.hex(): (rows.get(key), self._world.flows.get(key))
            for key in rows.keys() | self._world.flows.keys()
            if rows.get(key) != self._world.flows.get(key)
        }
        if not wrong and not differing:
            self._recent.clear()
            return None
        seed, frame = self._recent[-1]
        what = f"counters (got, expected) {wrong}; rows (got, expected) {differing}"
        return Mismatch(self._world.family, seed, frame, what, None)
