"""What is handed out when pieces come back one by one."""

import pytest

from ebpflb.core.pools import FreeIds, Gaps
from ebpflb.core.tables import Range


def test_the_lowest_free_id_is_taken_first() -> None:
    ids = FreeIds({1, 2, 4, 6}, 9)
    assert [ids.take(), ids.take(), ids.take()] == [3, 5, 7]
    ids.give_back(4)
    ids.give_back(2)
    assert [ids.take(), ids.take(), ids.take(), ids.take()] == [2, 4, 8, None]
    ids.give_back(8)
    assert [ids.take(), ids.take()] == [8, None]


def test_an_empty_map_has_no_ids() -> None:
    assert FreeIds((), 1).take() is None


def test_the_first_gap_that_fits_is_taken_from_its_front() -> None:
    gaps = Gaps([Range(16, 16), Range(48, 1), Range(96, 20)], 160)
    assert gaps.taken_slots == 64
    assert gaps.take(17) == Range(64, 17)
    assert gaps.take(3) == Range(32, 3)
    assert gaps.take(16) == Range(128, 16)
    assert gaps.take(16) == Range(144, 16)
    assert gaps.take(1) is None
    assert gaps.taken_slots == 144


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_gaps_that_adjoin_become_one(order: tuple[int, int, int]) -> None:
    gaps = Gaps([], 64)
    pieces = [gaps.take(16), gaps.take(9), gaps.take(1)]
    assert gaps.take(1) is None
    for place in order:
        piece = pieces[place]
        assert piece is not None
        gaps.give_back(piece)
    assert gaps.take(48) == Range(16, 48)


def test_what_lies_behind_the_end_is_lost() -> None:
    """A map may have become smaller: what an adopted row names there cannot be used."""
    gaps = Gaps([Range(16, 48)], 48)
    gaps.give_back(Range(64, 16))
    assert gaps.take(1) is None
    gaps.give_back(Range(32, 48))
    assert gaps.take(17) is None
    assert gaps.take(16) == Range(32, 16)
