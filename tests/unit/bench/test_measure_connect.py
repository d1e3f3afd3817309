"""How rounds of connect() become P1, P1b and P1c."""

import pytest

from ebpflb.bench.measures.connect import BARE, FEW, MANY, MOST, latency_series, results
from ebpflb.bench.modes import DIRECT, IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES, SOCKET
from ebpflb.bench.rounds import Rounds

ROUNDS = {
    FEW: Rounds(
        {
            DIRECT: [1000.0, 1000.0],
            IPTABLES_LEGACY: [1300.0, 1300.0],
            NFTABLES: [1250.0, 1250.0],
            SOCKET: [1010.0, 1010.0],
            BARE: [1000.0, 1000.0],
        }
    ),
    MANY: Rounds(
        {
            DIRECT: [1000.0, 2000.0],
            IPTABLES_LEGACY: [3000.0, 6000.0],
            SOCKET: [1020.0, 2040.0],
            BARE: [1000.0, 2000.0],
        }
    ),
    MOST: Rounds({SOCKET: [1030.2, 1030.2], BARE: [1000.0, 1000.0]}),
}
PAIRS = {
    FEW: Rounds({SOCKET: [1010.0, 2020.0], BARE: [1000.0, 2000.0]}),
    MANY: Rounds({SOCKET: [1020.0, 2040.0], BARE: [1000.0, 2000.0]}),
    MOST: Rounds({SOCKET: [1030.2, 2060.4], BARE: [1000.0, 2000.0]}),
}
COLD = Rounds({SOCKET: [1100.0], BARE: [1000.0]})


def test_figures_are_ratios_of_one_round() -> None:
    p1, p1b, p1c = results(ROUNDS, PAIRS, COLD, [IPTABLES_LEGACY, NFTABLES])
    assert (p1.id, p1.value, p1.met) == ("P1", 1.02, True)
    assert p1.detail["ours_of_bare_2000_dialled_ratio"] == 1.1
    assert p1.detail["iptables_legacy_ns"] == 4500
    assert p1b.id == "P1b"
    assert p1b.value == pytest.approx(1.02)
    assert (p1c.id, p1c.value, p1c.note) == ("P1c", 1010 / 1250, "fastest: nftables")


def test_the_curve_has_what_was_measured() -> None:
    series = latency_series(ROUNDS)
    assert BARE not in series.points
    assert IPTABLES_NFT not in series.points
    assert [point.x for point in series.points[SOCKET]] == [FEW, MANY, MOST]
    assert [point.y for point in series.points[NFTABLES]] == [1.25]
