"""``make kernels``: boots each kernel in turn, gathers what its guest says, prints tables, fails if anything failed.

    versions --images.fetch--> Image --machine.boot--> Results --> tables, exit code

One guest at a time. A guest that ends before its last check, or whose time runs out, has failed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console

from tests.kernels.images import SUITES, Image, KernelError, cache_folder, fetch
from tests.kernels.machine import boot, snapshot
from tests.kernels.result import END, Result, show

_REPOSITORY = Path(__file__).parents[2]


def main() -> int:
    """Return 0 when every check passed on every kernel."""
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
                results[version] = _try(image, tree, console, options.minutes * 60, options.accelerator)
    show(console, results)
    return 0 if all(result.ok for found in results.values() for result in found) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make kernels", description=__doc__)
    parser.add_argument("versions", nargs="+", choices=sorted(SUITES), metavar="VERSION", help=", ".join(SUITES))
    parser.add_argument("--minutes", type=float, default=20, help="a guest's time (default %(default)s)")
    parser.add_argument("--accelerator", default="tcg,thread=multi", help="of QEMU (default %(default)s)")
    return parser.parse_args()


def _try(image: Image, tree: Path, console: Console, seconds: float, accelerator: str) -> list[Result]:
    """Run one guest; show each result as it comes."""
    log = cache_folder() / image.version / "console.log"
    console.print(f"{image.release}: starts, console in {log}", soft_wrap=True)
    began = time.monotonic()
    results: list[Result] = []
    finished = False
    for line in boot(image, _REPOSITORY, tree, log, seconds=seconds, accelerator=accelerator):
        if line == END:
            finished = True
        elif line.startswith("{"):
            result = Result(**json.loads(line))
            results.append(result)
            mark = "ok" if result.ok else "FAILED"
            said = f"{image.release}: {result.check}: {mark} {result.seconds:.0f} s {result.detail}"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
    results.append(Result(END, ok=finished, seconds=time.monotonic() - began))
    if not finished:
        end = log.read_text(errors="replace").splitlines()[-20:]
        console.print(f"{image.release}: the guest ended too early; its last words:", *end, sep="\n", markup=False)
    return results


if __name__ == "__main__":
    sys.exit(main())
