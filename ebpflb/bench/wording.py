"""How a result reads: digits, units, targets, verdicts. The same in the terminal, on the page and in the docs. Pure.

Result --> "1.02x", "<= 1.03", "met", "46.1 us (iptables legacy)"
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from ebpflb.bench.figures import BY_ID, Result
from ebpflb.bench.machine import Machine

NOTHING: Final = "-"
HEADERS: Final = ("id", "value", "target", "verdict", "spread", "peer", "floor", "what")
_RATIO: Final = "ratio"
_DIGITS: Final = 3
_MOST_DIGITS: Final = 9
_UNITS: Final[Mapping[str, str]] = {
    "ns": "ns",
    "us": "us",
    "ms": "ms",
    "s": "s",
    "pps": "packets/s",
    "mpps": "Mpps",
    "bytes": "bytes",
    "kb": "kB",
    "mb": "MB",
    "gbps": "Gbit/s",
}
"""By the last word of a name in ``Result.detail``."""


class Verdict(StrEnum):
    """What became of a figure."""

    MET = "met"
    MISSED = "MISSED"
    UNMEASURED = "NOT MEASURED"


def verdict(result: Result) -> Verdict:
    """Return what became of a figure."""
    if result.value is None:
        return Verdict.UNMEASURED
    return Verdict.MET if result.met else Verdict.MISSED


def number(value: float, digits: int = _DIGITS) -> str:
    """Return a number with so many significant digits, never in powers of ten; whole thousands keep all of theirs."""
    if value == 0:
        return "0"
    decimals = max(0, digits - len(f"{abs(value):.0f}")) if abs(value) >= 1 else digits - 1 + _leading_zeros(value)
    return f"{value:,.{decimals}f}"


def _leading_zeros(value: float) -> int:
    """Return how many zeros stand between the point and the first other digit of a value below 1, and one more."""
    return -int(f"{value:e}".rpartition("e")[2])


def plain(value: float) -> str:
    """Return a number that somebody chose, as an axis names it: ``10,000``, ``0.5``."""
    return f"{value:,.10g}"


def with_unit(value: str, unit: str) -> str:
    """Return a number with its unit; a ratio is so many times something."""
    return f"{value}x" if unit == _RATIO else f"{value} {unit}"


def value_text(result: Result) -> str:
    """Return a value with as many digits as show on which side of the target it is."""
    if result.value is None:
        return NOTHING
    digits = _DIGITS
    while digits < _MOST_DIGITS and _reads_otherwise(result.value, result, digits):
        digits += 1
    return with_unit(number(result.value, digits), result.unit)


def _reads_otherwise(value: float, result: Result, digits: int) -> bool:
    return BY_ID[result.id].is_met_by(float(number(value, digits).replace(",", ""))) != result.met


def target_text(result: Result) -> str:
    """Return ``<= 1.03``."""
    return f"{BY_ID[result.id].better} {result.target:g}"


def spread_text(result: Result) -> str:
    """Return half the distance of the quartiles, in the figure's unit."""
    return NOTHING if result.spread is None else f"±{number(result.spread, 2)}"


def beside(value: float | None, detail: Mapping[str, float]) -> str:
    """Return a peer or floor with the unit and the name that ``detail`` has for it; else with the unit of all there."""
    if value is None:
        return NOTHING
    names = [name for name, behind in detail.items() if behind == value]
    if not names:
        units = {unit for name in detail if (unit := split_name(name)[1])}
        return with_unit(number(value), units.pop()) if len(units) == 1 else number(value)
    name, unit = split_name(names[0])
    return f"{with_unit(number(value), unit) if unit else number(value)} ({name})"


def split_name(name: str) -> tuple[str, str]:
    """Return the words and the unit of a name such as ``iptables_legacy_ns``."""
    words, _, last = name.rpartition("_")
    if words and last in _UNITS:
        return words.replace("_", " "), _UNITS[last]
    return name.replace("_", " "), ""


def cells(result: Result) -> list[str]:
    """Return a line of the table, as ``HEADERS`` names its columns."""
    return [
        result.id,
        value_text(result),
        target_text(result),
        verdict(result),
        spread_text(result),
        beside(result.peer, result.detail),
        beside(result.floor, result.detail),
        result.what,
    ]


def summary(results: Sequence[Result]) -> str:
    """Return how many targets were reached."""
    met = sum(verdict(result) is Verdict.MET for result in results)
    unmeasured = sum(verdict(result) is Verdict.UNMEASURED for result in results)
    missed = len(results) - met - unmeasured
    parts = [f"{missed} missed"] * bool(missed) + [f"{unmeasured} not measured"] * bool(unmeasured)
    return ", ".join([f"{met} of {len(results)} targets reached", *parts])


def machine_rows(machine: Machine) -> list[tuple[str, str]]:
    """Return what a machine is, a name and its words each."""
    loads = ", ".join(f"{load:.2f}" for load in machine.load_before)
    rows = [
        ("date", machine.date),
        ("ebpflb", f"{machine.ebpflb} {machine.commit}".strip()),
        ("kernel", f"{machine.kernel} {machine.architecture}"),
        ("processor", f"{machine.cpu}, {machine.cores} cores"),
        ("memory", f"{machine.memory_mb:,} MB"),
        ("virtualization", machine.virtualization),
        ("load before", loads),
        ("BPF JIT", machine.bpf_jit),
    ]
    return [*rows, *machine.tools.items(), *machine.mitigations.items()]
