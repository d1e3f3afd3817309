import pytest

from ebpflb.datapath.clock import Reading, nearest_hz


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
@pytest.mark.parametrize("interval_ms", [60, 61, 75, 200])
@pytest.mark.parametrize("error", [-0.99, 0, 0.99])
@pytest.mark.parametrize("start", [0, 0xFFFFFFFF, 0xFFFFFFF8])
def test_one_tick_of_error_never_gives_another_rate(hz: int, interval_ms: int, error: float, start: int) -> None:
    ticks = int(hz * interval_ms / 1000 + error)
    second = Reading((start + ticks) & 0xFFFFFFFF, interval_ms * 1_000_000)
    assert nearest_hz(Reading(start, 0), second) in {hz, None}


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
def test_exact_readings_give_the_rate(hz: int) -> None:
    assert nearest_hz(Reading(5, 0), Reading(5 + hz * 6 // 100, 60_000_000)) == hz


def test_what_fits_no_rate_gives_none() -> None:
    assert nearest_hz(Reading(0, 0), Reading(30, 60_000_000)) is None
    assert nearest_hz(Reading(0, 0), Reading(0, 1_000_000)) is None
