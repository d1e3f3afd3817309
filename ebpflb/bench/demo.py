"""Shows ebpflb at work on this machine in about a minute, and leaves nothing behind.

    python -m ebpflb.bench.demo [--underlay routed|vxlan] [--forwarding snat|dsr|hybrid]

examples/, Settings -> Stage -> SCENES, one after the other, each in IPv4 and IPv6 -> "demo: ok" and 0, or what failed
and 1
"""

import argparse
import os
import sys
from collections.abc import Sequence

from ebpflb.bench.demo_scenes import SCENES
from ebpflb.bench.demo_screen import Screen
from ebpflb.bench.demo_stage import Settings, Stage, staged
from ebpflb.bench.plan import Underlay
from ebpflb.errors import EbpflbError

INTERRUPTED = 130
DEBUG_VARIABLE = "EBPFLB_DEBUG"


def play(screen: Screen, stage: Stage) -> None:
    """Play every scene and show its outcome."""
    for scene in SCENES:
        try:
            with screen.step(scene.title):
                outcome = scene.play(stage)
        except Exception:
            for name, words in stage.agents.last_words().items():
                screen.note(f"the agent of {name} last said:")
                screen.excerpt(words)
            raise
        screen.bars(outcome.bars)
        for note in outcome.notes:
            screen.note(note)
        screen.excerpt(outcome.excerpt)


def fail(screen: Screen, error: Exception) -> int:
    """Show what went wrong, in one last line; what a program said with it stands before."""
    said = str(error) if isinstance(error, EbpflbError) else f"{type(error).__name__}: {error}"
    line, _, details = said.partition("\n")
    screen.excerpt(details)
    hint = "" if isinstance(error, EbpflbError) else f"; {DEBUG_VARIABLE}=1 shows the traceback"
    screen.last_line(f"demo: failed: {line}{hint}")
    return 1


def run(settings: Settings) -> int:
    """Play the demo; return the exit code."""
    screen = Screen()
    try:
        with staged(screen, settings) as stage:
            play(screen, stage)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"}:
            raise
        return fail(screen, error)
    except KeyboardInterrupt:
        screen.last_line("demo: interrupted; everything was removed")
        return INTERRUPTED
    screen.last_line("demo: ok")
    return 0


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="demo", description="ebpflb at work on this machine")
    parser.add_argument("--underlay", choices=[each.value for each in Underlay], default=Underlay.ROUTED.value)
    parser.add_argument("--forwarding", choices=["snat", "dsr", "hybrid"], default="")
    chosen = parser.parse_args(arguments)
    return Settings(Underlay(chosen.underlay), chosen.forwarding)


if __name__ == "__main__":
    sys.exit(run(parse()))
