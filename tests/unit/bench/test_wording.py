"""How values read: sensible digits, never rounded across a target."""

import pytest

from ebpflb.bench.figures import judge, unmeasured
from ebpflb.bench.wording import beside, cells, machine_rows, number, plain, split_name, summary, value_text
from tests.unit.bench.runs import MACHINE, MET, MISSED, UNMEASURED


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00123, "0.00123"),
        (0.0998, "0.0998"),
        (0.5, "0.500"),
        (1.0304, "1.03"),
        (9.999, "10.0"),
        (119.6, "120"),
        (29_991.5, "29,992"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("figure", "value", "text"),
    [
        ("P1", 1.0304, "1.0304x"),
        ("P1", 1.0296, "1.03x"),
        ("P7", 1.9996, "1.9996x"),
        ("P7", 2.004, "2.00x"),
        ("P10", 0.1000004, "0.1000004x"),
        ("P12", 119.6, "120 MB"),
        ("P3", 1.421, "1.42 hash look-ups"),
    ],
)
def test_a_value_never_reads_as_if_it_were_on_the_other_side_of_its_target(
    figure: str, value: float, text: str
) -> None:
    assert value_text(judge(figure, value)) == text


def test_a_line_of_the_table() -> None:
    assert cells(MET) == [
        *("P1", "1.01x", "<= 1.03", "met", "±0.0040", "149 us (iptables nft)", "16.5 us (direct)"),
        "TCP connect() to a ClusterIP of 10,000, of connect() to the pod",
    ]
    assert cells(MISSED)[:7] == ["P6", "0.810x", ">= 0.85", "MISSED", "-", "-", "-"]
    assert cells(UNMEASURED)[:7] == ["P10", "-", "<= 0.1", "NOT MEASURED", "-", "-", "-"]


def test_a_peer_is_named_as_detail_names_it() -> None:
    assert beside(0.25, {"nft_s": 0.25}) == "0.250 s (nft)"
    assert beside(0.25, {"a ratio": 0.25}) == "0.250 (a ratio)"
    assert beside(0.25, {"nft_s": 0.26, "services": 3}) == "0.250 s"
    assert beside(0.25, {"nft_s": 0.26, "ours_ms": 3}) == "0.250"
    assert split_name("packets_mpps") == ("packets", "Mpps")
    assert split_name("ns") == ("ns", "")
    assert plain(65_537.0) == "65,537"


def test_the_summary_counts_what_was_not_measured_apart() -> None:
    assert summary([MET]) == "1 of 1 targets reached"
    assert (
        summary([MET, MISSED, UNMEASURED, unmeasured("P2", "")]) == "1 of 4 targets reached, 1 missed, 2 not measured"
    )


def test_what_a_machine_is() -> None:
    rows = dict(machine_rows(MACHINE))
    assert rows["processor"] == "Some <processor>, 2 cores"
    assert (rows["nft"], rows["spectre_v2"], rows["ebpflb"]) == ("v1.0.6", "Mitigation: Retpolines", "0.1.0 abc")
