"""What a run is refused for."""

import pytest

from ebpflb.bench.measure import RefusedError
from ebpflb.bench.rig_checks import check_arrivals, check_growth


@pytest.mark.parametrize("arrived", [[500, 500], [440, 560]])
def test_a_fair_run_counts(arrived: list[int]) -> None:
    check_arrivals("nftables", 1000, arrived)


def test_a_lost_connection_refuses_the_run() -> None:
    with pytest.raises(RefusedError, match="nftables: 1000 connections were made, and 999 arrived"):
        check_arrivals("nftables", 1000, [500, 499])


@pytest.mark.parametrize("arrived", [[1000, 0], [600, 400]])
def test_a_mode_that_does_not_balance_is_refused(arrived: list[int]) -> None:
    with pytest.raises(RefusedError, match="ebpflb socket does not balance"):
        check_arrivals("ebpflb socket", 1000, arrived)


def test_three_backends_share_by_thirds() -> None:
    check_arrivals("direct", 900, [300, 310, 290])
    with pytest.raises(RefusedError, match="balance"):
        check_arrivals("direct", 900, [450, 450, 0])


def test_rules_that_cost_nothing_refuse_the_rig() -> None:
    check_growth("iptables-nft", 10_000.0, 60_000.0)
    with pytest.raises(RefusedError, match="iptables-nft was no slower with 10,000 Services"):
        check_growth("iptables-nft", 10_000.0, 10_000.0)
