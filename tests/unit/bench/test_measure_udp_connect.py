"""How rounds of connect() of UDP sockets become P2."""

import pytest

from ebpflb.bench.connect_programs import EMPTY, HASH, LOOK_UPS
from ebpflb.bench.measure import RefusedError
from ebpflb.bench.measures.udp_connect import BARE, NEW_SOCKET, OURS, SAME_SOCKET, result
from ebpflb.bench.rounds import Rounds


def rounds(ours: float, look_up: float) -> Rounds:
    """Return two rounds, the second of which the machine is slower by 100 ns."""
    of_first = {OURS: 700 + ours, EMPTY: 700.0, HASH: 700 + LOOK_UPS * look_up, BARE: 690.0}
    return Rounds({name: [value, value + 100] for name, value in of_first.items()})


def test_the_figure_is_one_socket_above_an_empty_program_in_look_ups() -> None:
    found = result({SAME_SOCKET: rounds(150, 25), NEW_SOCKET: rounds(250, 20)})
    assert (found.id, found.value, found.met, found.spread) == ("P2", 6.0, True, 0.0)
    assert found.detail["new_socket_hash_look_ups"] == 12.5
    assert found.detail["same_socket_one_look_up_ns"] == 25
    assert found.detail["same_socket_empty_ns"] == 750
    assert found.note == "one socket; a new socket each time: 12.5"


def test_look_ups_that_cost_nothing_refuse_the_run() -> None:
    with pytest.raises(RefusedError, match="8 look-ups took no longer"):
        result({SAME_SOCKET: rounds(150, -1), NEW_SOCKET: rounds(150, 20)})
