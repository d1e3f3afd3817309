"""``make kernels``: boots each kernel in turn, gathers what its guest says, prints tables, fails if anything failed.

    versions --images.fetch--> Image --machine.boot--> Results --> tables, exit code

One guest at a time; it tells each minute what it is at. A guest that ends before its last check, falls silent, or whose
time runs out, has failed, and the last thing that it said is shown.
"""

import argparse
import json
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path

from rich.console import Console

from tests.kernels.images import SUITES, Image, KernelError, cache_folder, fetch
from tests.kernels.machine import GuestError, Patience, Settings, boot, snapshot
from tests.kernels.result import AT_WORK, END, Result, show
from tests.kernels.suites import left_out

_REPOSITORY = Path(__file__).parents[2]
_SILENCE_SECONDS = 300.0
"""A guest that says nothing for so long has stopped: it begins to talk when Python runs, within a minute if the host
has processors for it."""


def main() -> int:
    """Return 0 when every check passed on every kernel."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the guest and the copy of the tree go, too
    options = _options()
    console = Console()
    results: dict[str, list[Result]] = {}
    with snapshot(_REPOSITORY) as tree:
        for version in options.versions:
            try:
                image = fetch(version, cache_folder())
            except KernelError as error:
                console.print(f"{version}: {error}", markup=False)
                results[version] = [Result(END, ok=False)]
            else:
                patience = Patience(options.minutes * 60, options.silence)
                settings = Settings(options.accelerator, options.only, options.everything)
                results[version] = _try(image, tree, console, patience, settings)
    show(console, results)
    console.print(left_out(everything=options.everything), markup=False, highlight=False, soft_wrap=True)
    return 0 if all(result.ok for found in results.values() for result in found) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make kernels", description=__doc__)
    parser.add_argument("versions", nargs="+", choices=sorted(SUITES), metavar="VERSION", help=", ".join(SUITES))
    parser.add_argument("--minutes", type=float, default=60, help="a guest's time (default %(default)s)")
    parser.add_argument("--silence", type=float, default=_SILENCE_SECONDS, help="seconds until it hangs (%(default)s)")
    parser.add_argument("--only", type=_word, default="", help="checks with this in their names: build, doctor, packet")
    parser.add_argument("--everything", action="store_true", help="also what is left out to save time")
    parser.add_argument("--accelerator", default="tcg,thread=multi", help="of QEMU (default %(default)s)")
    return parser.parse_args()


def _word(text: str) -> str:
    """Refuse what a kernel's command line would take for two words."""
    if not re.fullmatch(r"[^\s\"]*", text):
        raise argparse.ArgumentTypeError("a regular expression without spaces and quotation marks")
    return text


def _try(image: Image, tree: Path, console: Console, patience: Patience, settings: Settings) -> list[Result]:
    """Run one guest; show each result as it comes, and what it is at."""
    log = cache_folder() / image.version / "console.log"
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"{image.release}: starts, console in {log}")
    began = time.monotonic()
    results: list[Result] = []
    finished, why = False, "it ended before its last check"
    try:
        for line in boot(image, _REPOSITORY, tree, log, patience=patience, settings=settings):
            finished = finished or line == END
            if line.startswith("{"):
                results.append(Result(**json.loads(line)))
                say(f"{image.release}: {_words(results[-1])}")
            elif line.startswith(AT_WORK):
                say(f"{image.release}: {time.monotonic() - began:.0f} s, {line}")
    except GuestError as error:
        finished, why = False, str(error)
    results.append(Result(END, ok=finished, seconds=time.monotonic() - began, detail="" if finished else why))
    if not finished:
        end = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
        say(f"{image.release}: FAILED: {why}; its console's last words:", *end, sep="\n")
    return results


def _words(result: Result) -> str:
    """Return a result as a line."""
    return f"{result.check}: {'ok' if result.ok else 'FAILED'} {result.seconds:.0f} s {result.detail}"


if __name__ == "__main__":
    sys.exit(main())
