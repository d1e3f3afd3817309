import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflb.core.proxy_config_durations import SECOND_NS, format_duration, parse_duration

MOST_NS = (1 << 63) - 1


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5s", 5 * SECOND_NS),
        ("+5s", 5 * SECOND_NS),
        ("-30s", -30 * SECOND_NS),
        ("1m30s", 90 * SECOND_NS),
        ("1.5h", 5_400 * SECOND_NS),
        (".5s", SECOND_NS // 2),
        ("5.s", 5 * SECOND_NS),
        ("1h15m30.918s", 4_530_918_000_000),
        ("300ms", 300_000_000),
        ("7ns", 7),
        ("7us", 7_000),
        ("7\u00b5s", 7_000),
        ("7\u03bcs", 7_000),
        ("30s1m", 90 * SECOND_NS),
        ("0.9ns", 0),
        (f"{MOST_NS}ns", MOST_NS),
    ],
)
def test_what_go_takes(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "30", "s", ".s", "1", "1d", "1 s", " 1s", "1s ", "1m-30s", "--1s", "1e3s", "1h1", "\u0661s", "1S"],
)
def test_what_go_does_not_take(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", [f"{MOST_NS + 1}ns", "2562048h", "9999999999999999h"])
def test_what_is_too_long(text: str) -> None:
    with pytest.raises(ValueError, match="is too long"):
        parse_duration(text)


def test_a_text_of_any_length_is_answered() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("1s" * 100_000)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1\u00b5s"),
        (2_200_000, "2.2ms"),
        (300_000_000, "300ms"),
        (SECOND_NS, "1s"),
        (3_300_000_000, "3.3s"),
        (60 * SECOND_NS, "1m0s"),
        (90 * SECOND_NS, "1m30s"),
        (86_400 * SECOND_NS, "24h0m0s"),
        (3_661_001_000_000, "1h1m1.001s"),
        (-30 * SECOND_NS, "-30s"),
        (MOST_NS, "2562047h47m16.854775807s"),
    ],
)
def test_what_go_writes(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(-MOST_NS, MOST_NS))
def test_what_is_written_is_read_back(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        nanoseconds = parse_duration(text)
    except ValueError:
        return
    assert abs(nanoseconds) <= MOST_NS
