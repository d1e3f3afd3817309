"""How large the programs are and how far the verifier follows them, against the figures that were committed.

    build of a family (private pins) --> {program: Size} --against budgets.json--> table, exit code
    ``python -m tests.prog.budgets [--update]``, as root

Knows nothing of what the programs do. ``--update`` rewrites the file: that commit says why a program grew. How far the
verifier follows a program depends on its kernel: those figures are compared on the kernel that they were measured on.
"""

import argparse
import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from ebpflb.core.abi import Family
from ebpflb.datapath import libbpf
from ebpflb.datapath.build import Build, BuildSpec, MapSizes, build_programs
from ebpflb.datapath.pins import Pins
from ebpflb.errors import EbpflbError
from ebpflb.host.features import SET_RETVAL, probe_feature
from ebpflb.host.finding import Level

BUDGETS = Path(__file__).with_name("budgets.json")
BPFFS = Path("/sys/fs/bpf")
GROWTH = 1.1
"""A program may grow to this multiple of its committed figure."""
VERIFIER_LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS: more than that no kernel follows."""
_SIZES = MapSizes(64, 64, 64, 64, 1024, 64, 64, 64, 16, 16, 64, 64, 16, 16, 16, 16)
_COLUMNS = "{:<16} {:<6} {:>24} {:>26} {:>9}"
_KERNEL = "kernel"


class Size(NamedTuple):
    """What one program costs."""

    instructions: int
    """As compiled, before the verifier's rewriting."""
    verified: int
    """Instructions that the verifier followed, every path counted; 0: this kernel does not tell (before 5.16)."""


Sizes = Mapping[str, Size]
"""By program: ``lb_out4``."""


class Row(NamedTuple):
    """A program beside its budget."""

    program: str
    size: Size
    budget: Size | None
    """None: the program is new."""

    def excess(self, *, same_kernel: bool) -> list[str]:
        """Return what exceeds the budget, in words."""
        if self.budget is None:
            return [f"{self.program}: has no budget"]
        found = []
        if self.size.instructions > limit_of(self.budget.instructions):
            found.append(f"{self.program}: {self.size.instructions} instructions, {self.budget.instructions} committed")
        allowed = limit_of(self.budget.verified) if same_kernel else VERIFIER_LIMIT
        if self.size.verified > allowed:
            found.append(f"{self.program}: {self.size.verified} verified, {self.budget.verified} committed")
        return found


def limit_of(committed: int) -> int:
    """Return the largest figure that needs no explanation."""
    return int(committed * GROWTH)


def kernel_series() -> str:
    """Return the running kernel's version without its patch level: ``6.18``."""
    return ".".join(platform.release().split(".")[:2])


def sizes_of(build: Build) -> dict[str, Size]:
    """Return the size of every program of a fresh build."""
    sizes = {}
    for stem, pin in build.pins.items():
        with libbpf.obj_get(pin) as program:
            facts = Path(f"/proc/self/fdinfo/{program.fileno()}").read_text(encoding="ascii")
        verified = re.search(r"^verified_insns:\s*(\d+)$", facts, re.MULTILINE)
        sizes[pin.name] = Size(build.instructions[stem], int(verified[1]) if verified else 0)
    return sizes


def measure(family: Family) -> dict[str, Size]:
    """Build a family's programs under pins of their own, and remove them."""
    pins = Pins(BPFFS, f"budgets-{uuid4().hex[:12]}")
    try:
        pins.create_folders(family)
        spec = BuildSpec(
            family,
            pins.maps(family),
            pins.progs(family),
            hz=250,
            host_netns_cookie=1,
            hairpin_address=bytes(family.address_bytes),
            have_set_retval=probe_feature(SET_RETVAL).level is Level.OK,
            sizes=_SIZES,
        )
        return sizes_of(build_programs(spec))
    finally:
        pins.remove()


def read_budgets(path: Path = BUDGETS) -> tuple[str, dict[str, Size]]:
    """Return the kernel that the figures were measured on, and the figures."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return document[_KERNEL], {name: Size(**figures) for name, figures in document["programs"].items()}


def write_budgets(sizes: Sizes, path: Path = BUDGETS) -> None:
    """Commit to these figures."""
    document = {_KERNEL: kernel_series(), "programs": {name: sizes[name]._asdict() for name in sorted(sizes)}}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def compare(sizes: Sizes, budgets: Sizes) -> list[Row]:
    """Return every program that there is, beside its budget."""
    return [Row(name, size, budgets.get(name)) for name, size in sizes.items()]


def table(rows: list[Row]) -> Iterator[str]:
    """Return the lines that people read."""
    yield _COLUMNS.format("program", "family", "instructions (limit)", "verified (limit)", "change")
    for program, size, budget in rows:
        limits = [f"({limit_of(figure)})" for figure in budget] if budget else ["(none)", "(none)"]
        changes = [grown(new, old) for new, old in zip(size, budget, strict=True)] if budget else ["new"]
        cells = (f"{figure} {limit}" for figure, limit in zip(size, limits, strict=True))
        yield _COLUMNS.format(program[:-1], f"IPv{program[-1]}", *cells, "/".join(changes))


def grown(new: int, old: int) -> str:
    """Return a change in per cent; the empty string for none."""
    return f"{(new - old) / old:+.0%}" if old and new != old else "="


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 0 when every program is within its budget, else 1 and what is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.prog.budgets", description=__doc__)
    parser.add_argument("--update", action="store_true", help="commit to today's figures")
    update = parser.parse_args(arguments).update
    try:
        with ProcessPoolExecutor(max_workers=len(Family)) as pool:
            sizes = {name: size for built in pool.map(measure, Family) for name, size in built.items()}
    except EbpflbError as error:
        say(str(error))
        return 1
    measured_on, budgets = read_budgets() if BUDGETS.exists() else (kernel_series(), {})
    rows = compare(sizes, budgets)
    say(*table(rows))
    if update:
        write_budgets(sizes)
        say(f"wrote {BUDGETS.name}: its commit says why")
        return 0
    excess = [word for row in rows for word in row.excess(same_kernel=measured_on == kernel_series())]
    say(*(f"over budget: {word}" for word in excess))
    if excess:
        say("if the change is worth that: python -m tests.prog.budgets --update")
    return 1 if excess else 0


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
