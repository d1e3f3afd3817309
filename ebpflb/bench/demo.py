"""Shows ebpflb at work on this machine in about a minute, and leaves nothing behind.

examples/ -> Stage -> SCENES, one after the other -> "demo: ok" and 0, or what failed and 1
"""

import sys

from ebpflb.bench.demo_scenes import SCENES
from ebpflb.bench.demo_screen import Screen
from ebpflb.bench.demo_stage import Stage, staged
from ebpflb.errors import EbpflbError

INTERRUPTED = 130


def play(screen: Screen, stage: Stage) -> None:
    """Play every scene and show its outcome."""
    for scene in SCENES:
        try:
            with screen.step(scene.title):
                outcome = scene.play(stage)
        except EbpflbError:
            for name, words in stage.agents.last_words().items():
                screen.note(f"the agent of {name} last said:")
                screen.excerpt(words)
            raise
        screen.bars(outcome.bars)
        for note in outcome.notes:
            screen.note(note)
        screen.excerpt(outcome.excerpt)


def run() -> int:
    """Play the demo; return the exit code."""
    screen = Screen()
    try:
        with staged(screen) as stage:
            play(screen, stage)
    except EbpflbError as error:
        screen.last_line(f"demo: failed: {error}")
        return 1
    except KeyboardInterrupt:
        screen.last_line("demo: interrupted; everything was removed")
        return INTERRUPTED
    screen.last_line("demo: ok")
    return 0


if __name__ == "__main__":
    sys.exit(run())
