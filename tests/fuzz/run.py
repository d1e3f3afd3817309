"""``python -m tests.fuzz.run``: sends mutated packets through the programs and the reference, until they differ.

    family x hook --Campaign--> progress, rate, a reproducer of the first mismatch (exit code 1)

Needs root. Everything happens in a network namespace without a name and under pins of its own; both end with it.
"""

import argparse
import sys
from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from ebpflb.core.abi import Family
from tests.fuzz.campaign import Campaign, Mismatch
from tests.fuzz.kernel import Programs
from tests.fuzz.rows import Hook
from tests.fuzz.seeds import seeds_of
from tests.fuzz.worlds import world_of
from tests.prog.world import Namespace

_STEP = 16_384
_PROGRESS_S = 10.0


class Result(NamedTuple):
    """What came of one program."""

    program: str
    packets: int
    seconds: float
    mismatch: Mismatch | None
    acts: str

    def __str__(self) -> str:
        """Return a line for people."""
        found = "1 mismatch" if self.mismatch else "0 mismatches"
        rate = self.packets / self.seconds if self.seconds else 0.0
        return f"{self.program}: {self.packets} packets, {found}, {rate:.0f} packets/s ({self.acts})"


def fuzz(family: Family, hooks: list[Hook], packets: int, seed: int) -> Iterator[Result]:
    """Send so many packets through each program; yields a result for each."""
    world, conversations = world_of(family)
    seeds = seeds_of(family, conversations)
    with Namespace() as namespace, namespace.entered(), Programs(world) as programs:
        for hook in hooks:
            campaign = Campaign(world, programs, hook, seeds, f"{seed} {hook} {family}")
            campaign.install()
            yield _send(campaign, f"{hook}{family.value}", packets)


def _send(campaign: Campaign, program: str, packets: int) -> Result:
    sent, began, told = 0, monotonic(), monotonic()
    mismatch = None
    while sent < packets and mismatch is None:
        step = min(_STEP, packets - sent)
        mismatch = campaign.run(step)
        sent += step
        if monotonic() - told > _PROGRESS_S:
            told = monotonic()
            say(f"{program}: {sent} of {packets}, {sent / (told - began):.0f} packets/s")
    acts = " ".join(f"{act.name.lower()} {count}" for act, count in campaign.acts.most_common())
    return Result(program, sent, monotonic() - began, mismatch, acts)


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
    asked = parser.parse_args()
    hooks = list(Hook) if asked.programs == "all" else [Hook(stem) for stem in asked.programs.split(",")]
    for number in asked.family or [4, 6]:
        for result in fuzz(Family(number), hooks, asked.packets, asked.seed):
            say(str(result))
            if result.mismatch is not None:
                say(str(result.mismatch))
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
