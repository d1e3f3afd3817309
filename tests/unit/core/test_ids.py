import numpy as np

from ebpflb.core.abi import Algorithm, BackendFlag, BackendState, Family, FrontendFlag, FrontendKind
from ebpflb.core.ids import Allocation, IdPool
from ebpflb.core.places import BackendId
from ebpflb.core.ranges import Arena, RetiredRange, digest_of
from ebpflb.core.tables import EMPTY_RANGE, Backend, Frontend, Range, Slots, Tables
from tests.unit.core.factories import backend, frontend

ACTIVE, DRAINING = BackendState.ACTIVE, BackendState.DRAINING


def slots(*ids: int) -> Slots:
    return np.array(ids, dtype=np.uint32)


def row(service_id: int, cluster: Range, local: Range = EMPTY_RANGE) -> Frontend:
    return Frontend(service_id, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 0, cluster, local)


def row_of_backend(ip: str, state: BackendState, generation: int) -> Backend:
    return Backend(backend(ip), state, BackendFlag(0), generation)


def test_an_allocation_is_restored_from_the_maps() -> None:
    tables = Tables(
        Family.IPV4,
        frontends={
            frontend("10.96.0.1"): row(3, Range(16, 2), Range(16, 1)),
            frontend("10.96.0.2"): row(9, EMPTY_RANGE),
        },
        backends={4: row_of_backend("10.0.0.1", ACTIVE, 7), 5: row_of_backend("10.0.0.2", DRAINING, 8)},
        services={3: "shop/web/TCP"},
        slots={Range(16, 2): slots(4, 5), Range(16, 1): slots(4)},
    )
    allocation = Allocation.from_tables(tables, 6)
    assert allocation == Allocation(
        services={"shop/web/TCP": 3},
        backends={backend("10.0.0.1"): BackendId(4, 7), backend("10.0.0.2"): BackendId(5, 8)},
        ranges={digest_of(slots(4, 5)): Range(16, 2)},
        owners={frontend("10.96.0.1"): "shop/web/TCP"},
        max_generation=8,
        retired_services={9: 0},
    )
    assert Allocation.from_tables(tables, 99).max_generation == 99


def test_after_a_crash_the_id_in_use_stands() -> None:
    tables = Tables(
        Family.IPV4,
        frontends={frontend("10.96.0.1"): row(8, Range(32, 1)), frontend("10.96.0.2"): row(8, Range(48, 1))},
        backends={
            1: row_of_backend("10.0.0.1", DRAINING, 5),
            2: row_of_backend("10.0.0.1", ACTIVE, 4),
            3: row_of_backend("10.0.0.2", ACTIVE, 1),
            4: row_of_backend("10.0.0.2", ACTIVE, 2),
        },
        services={2: "shop/web/TCP", 8: "shop/web/TCP"},
        slots={Range(32, 1): slots(2), Range(64, 1): slots(2), Range(80, 2): slots(0, 6)},
    )
    allocation = Allocation.from_tables(tables, 0)
    assert allocation.services == {"shop/web/TCP": 8}
    assert allocation.retired_services == {2: 0}
    assert allocation.backends == {backend("10.0.0.1"): BackendId(2, 4), backend("10.0.0.2"): BackendId(4, 2)}
    assert allocation.retired_backends == {1: 0, 3: 0, 6: 0}
    assert allocation.ranges == {digest_of(slots(2)): Range(32, 1), digest_of(slots(0, 6)): Range(80, 2)}
    assert allocation.retired_ranges == {
        Range(48, 1): RetiredRange(0, b""),
        Range(64, 1): RetiredRange(0, digest_of(slots(2))),
    }


def test_release_frees_up_to_an_epoch() -> None:
    allocation = Allocation(
        retired_services={1: 1, 2: 2},
        retired_backends={3: 1, 4: 2},
        retired_ranges={Range(16, 1): RetiredRange(1, b"a"), Range(32, 1): RetiredRange(2, b"b")},
    )
    released = allocation.release(1)
    assert released == Allocation(
        retired_services={2: 2}, retired_backends={4: 2}, retired_ranges={Range(32, 1): RetiredRange(2, b"b")}
    )
    assert allocation.retired_services == {1: 1, 2: 2}


def test_ids_are_handed_out_from_one_up_and_come_back() -> None:
    pool = IdPool({2}, 4)
    assert [pool.take(), pool.take(), pool.take()] == [1, 3, None]
    pool.give_back(3)
    assert [pool.take(), pool.take()] == [3, None]


def test_ranges_begin_at_lines_and_never_at_line_zero() -> None:
    arena = Arena({}, {}, 96)
    assert arena.place(slots(*range(1, 18))) == Range(16, 17)
    assert arena.place(slots(1)) == Range(48, 1)
    assert arena.place(slots(1)) == Range(48, 1)
    assert arena.place(slots(*range(1, 34))) is None
    assert arena.place(slots(2)) == Range(64, 1)
    assert arena.place(slots(3)) == Range(80, 1)
    assert arena.place(slots(4)) is None


def test_a_range_goes_to_the_first_gap_that_fits() -> None:
    held = {b"a": Range(32, 1), b"b": Range(96, 20)}
    arena = Arena(held, {Range(64, 3): RetiredRange(1, b"c")}, 1024)
    assert arena.place(slots(*range(1, 20))) == Range(128, 19)
    assert arena.place(slots(1)) == Range(16, 1)
    assert arena.place(slots(2)) == Range(48, 1)
    assert arena.place(slots(3)) == Range(80, 1)
    assert arena.place(slots(4)) == Range(160, 1)


def test_ranges_beyond_a_lowered_limit_leave_no_gap() -> None:
    arena = Arena({b"a": Range(64, 16), b"b": Range(160, 16)}, {}, 96)
    assert [arena.place(slots(number)) for number in range(1, 6)] == [
        Range(16, 1),
        Range(32, 1),
        Range(48, 1),
        Range(80, 1),
        None,
    ]


def test_contents_that_are_held_keep_their_range() -> None:
    held = {digest_of(slots(1, 2)): Range(160, 2), digest_of(slots(3)): Range(32, 1)}
    arena = Arena(held, {}, 1024)
    assert arena.place(slots(1, 2)) == Range(160, 2)
    assert arena.retire(7) == {Range(32, 1): RetiredRange(7, digest_of(slots(3)))}


def test_a_change_that_is_taken_back_finds_its_range_again() -> None:
    retired = {Range(48, 1): RetiredRange(1, digest_of(slots(5))), Range(64, 1): RetiredRange(1, b"")}
    arena = Arena({}, retired, 1024)
    assert arena.place(slots(5)) == Range(48, 1)
    assert arena.retire(2) == {Range(64, 1): RetiredRange(1, b"")}


def test_undo_gives_back_what_was_placed_since_begin() -> None:
    arena = Arena({digest_of(slots(7)): Range(16, 1)}, {}, 128)
    arena.begin()
    assert arena.place(slots(1)) == Range(32, 1)
    arena.begin()
    assert arena.place(slots(*range(1, 20))) == Range(48, 19)
    assert arena.place(slots(7)) == Range(16, 1)
    assert arena.place(slots(2)) == Range(80, 1)
    assert arena.place(slots(*range(1, 40))) is None
    arena.undo()
    assert arena.contents.keys() == {Range(32, 1)}
    assert arena.place(slots(*range(1, 20))) == Range(48, 19)
    assert arena.place(slots(3)) == Range(80, 1)
