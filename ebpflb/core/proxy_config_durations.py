"""Durations in the syntax of Go's ``time`` package, which KubeProxyConfiguration uses: ``1m30s``, ``1.5h``, ``0``.

text --parse_duration--> nanoseconds --format_duration--> text as Go writes it
"""

import re
from fractions import Fraction
from typing import Final

SECOND_NS: Final = 1_000_000_000
_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter, which Go takes, too
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3_600 * SECOND_NS,
}
_PART: Final = re.compile("([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_MOST_NS: Final = (1 << 63) - 1
_MOST_CHARACTERS: Final = 100


def parse_duration(text: str) -> int:
    """Return nanoseconds. Raises ``ValueError`` for what Go would not take, also beyond 292 years."""
    unsigned = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if unsigned == "0":
        return 0
    parts = list(_PART.finditer(unsigned)) if len(text) <= _MOST_CHARACTERS else []
    if not parts or "".join(part[0] for part in parts) != unsigned:
        raise ValueError(f"{text!r} is not a duration")
    total = sum(int(_number(part[1]) * _UNITS_NS[part[2]]) for part in parts)
    if total > _MOST_NS:
        raise ValueError(f"{text!r} is too long")
    return -total if text.startswith("-") else total


def _number(digits: str) -> Fraction:
    return Fraction(f"0{digits.rstrip('.')}")


def format_duration(nanoseconds: int) -> str:
    """Return the text that Go would write: ``24h0m0s``, ``30s``, ``1.5s``, ``250ms``, ``0s``."""
    if nanoseconds < 0:
        return f"-{format_duration(-nanoseconds)}"
    if nanoseconds < SECOND_NS:
        unit = next((name for name in ("ms", "\u00b5s", "ns") if 0 < _UNITS_NS[name] <= nanoseconds), "s")
        return f"{_decimal(nanoseconds, _UNITS_NS[unit])}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND_NS)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
