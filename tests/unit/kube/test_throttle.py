"""How long requests wait for their turn."""

import pytest

from ebpflb.kube.throttle import UNLIMITED, Throttle


class HandClock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_goes_at_once_and_the_rest_one_after_the_other() -> None:
    clock = HandClock()
    throttle = Throttle(5, 3, clock)
    assert [throttle.delay_s() for _ in range(5)] == pytest.approx([0, 0, 0, 0.2, 0.4])
    clock.now += 0.4
    assert throttle.delay_s() == pytest.approx(0.2)
    clock.now += 1000
    assert [throttle.delay_s() for _ in range(4)] == pytest.approx([0, 0, 0, 0.2])


@pytest.mark.parametrize("burst", [0, 1])
def test_there_is_always_room_for_one(burst: int) -> None:
    throttle = Throttle(1, burst, HandClock())
    assert [throttle.delay_s() for _ in range(2)] == pytest.approx([0, 1])


def test_no_limit() -> None:
    throttle = Throttle(UNLIMITED, 1, HandClock())
    assert not any(throttle.delay_s() for _ in range(100))
