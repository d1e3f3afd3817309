"""``python -m tests.fuzz.run``: sends mutated packets through the programs and the reference, until they differ.

    family x hook --Campaign--> progress, rate, a reproducer of the first mismatch (exit code 1)

Needs root. Everything happens in a network namespace without a name and under pins of its own; both end with it.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple

from ebpflb.core.abi import Family
from tests.fuzz.campaign import Campaign, Mismatch
from tests.fuzz.kernel import Programs, link_addresses
from tests.fuzz.rows import Hook
from tests.fuzz.seeds import seeds_of
from tests.fuzz.settings import SETTINGS
from tests.fuzz.worlds import world_of
from tests.prog.world import Namespace

_STEP = 16_384
_PROGRESS_S = 10.0


class Result(NamedTuple):
    """What came of one program."""

    program: str
    packets: int
    seconds: float
    mismatches: list[Mismatch]
    acts: str

    def __str__(self) -> str:
        """Return a line for people."""
        found = f"{len(self.mismatches)} mismatches"
        rate = self.packets / self.seconds if self.seconds else 0.0
        return f"{self.program}: {self.packets} packets, {found}, {rate:.0f} packets/s ({self.acts})"


class Order(NamedTuple):
    """What to send."""

    hooks: tuple[Hook, ...] = tuple(Hook)
    packets: int = 100_000
    """For each program, evenly for each of the settings."""
    seed: int = 1


def fuzz(family: Family, order: Order, told: Callable[[Mismatch], bool] = lambda _found: False) -> Iterator[Result]:
    """Send packets through the programs of a family; yields a result for each.

    ``told`` hears of a mismatch and says whether to go on.
    """
    with Namespace() as namespace, namespace.entered():
        macs = link_addresses()
        worlds = [world_of(family, macs, setting)[0] for setting in SETTINGS]
        seeds = seeds_of(family, world_of(family, macs)[1])
        with Programs(worlds[0]) as programs:
            for hook in order.hooks:
                for number, world in enumerate(worlds, start=1):
                    campaign = Campaign(world, programs, hook, seeds, f"{order.seed} {hook} {family} {number}")
                    campaign.install()
                    packets = -(-order.packets // len(worlds))
                    yield _send(campaign, f"{hook}{family.value}, setting {number}", packets, told)


def _send(campaign: Campaign, program: str, packets: int, told: Callable[[Mismatch], bool]) -> Result:
    began = last = monotonic()
    found: list[Mismatch] = []
    while campaign.sent < packets:
        mismatch = campaign.run(min(_STEP, packets - campaign.sent))
        if mismatch is not None:
            found.append(mismatch)
            if not told(mismatch):
                break
            campaign.install()
        if monotonic() - last > _PROGRESS_S:
            last = monotonic()
            say(f"{program}: {campaign.sent} of {packets}, {campaign.sent / (last - began):.0f} packets/s")
    acts = " ".join(f"{act.name.lower()} {count}" for act, count in campaign.acts.most_common())
    return Result(program, campaign.sent, monotonic() - began, found, acts)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run what the command line asks for; 0 when program and reference always agreed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--programs", default="all", help="stems, comma-separated: lb_uplink_in,lb_out")
    parser.add_argument("--family", type=int, choices=[4, 6], action="append", help="both when left out")
    parser.add_argument("--packets", type=int, default=100_000, help="for each program")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="show one mismatch of each kind, stop at none")
    asked = parser.parse_args()
    kinds: set[str] = set()

    def told(found: Mismatch) -> bool:
        if str(found.kind) not in kinds:
            say(str(found))
        kinds.add(str(found.kind))
        return bool(asked.keep_going)

    hooks = tuple(Hook) if asked.programs == "all" else tuple(Hook(stem) for stem in asked.programs.split(","))
    order = Order(hooks, asked.packets, asked.seed)
    for number in asked.family or [4, 6]:
        for result in fuzz(Family(number), order, told):
            say(str(result))
            if result.mismatches and not asked.keep_going:
                return 1
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
