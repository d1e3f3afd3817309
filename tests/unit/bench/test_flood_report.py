"""When a flood counts as withstood."""

from dataclasses import replace

import pytest

from ebpflb.bench.flood_report import Clients, FloodReport, Wave
from ebpflb.bench.report import Report

LATENCY = {"p50": 0.1, "p99": 0.2, "max": 0.3}


def clients(kind: str, asked: int, answered: int, breaks: int = 0) -> Clients:
    failures = {"timeout": asked - answered} if asked > answered else {}
    return Clients(kind, "TCP", "NodePort", Report(asked, answered, {}, failures, breaks, LATENCY, [], [], 1.0))


GOOD = FloodReport(
    waves=[Wave("TCP", 1000, 2500, 1010, 2.0)],
    clients=[clients("established", 200, 200), clients("new, meanwhile", 200, 198)],
    counters={"flow_created": 1000, "drop_rewrite": 0},
    fill={"flows": (0, 12, 64)},
    agents_alive=True,
)


def test_a_flood_that_is_withstood() -> None:
    assert GOOD.complaints() == []
    lines = list(GOOD.lines())
    assert lines[-1] == "flood: withstood"
    assert "flow_created       +1000" in lines
    assert not [line for line in lines if "drop_rewrite" in line]
    assert GOOD.document()["complaints"] == []


@pytest.mark.parametrize(
    ("report", "complaint"),
    [
        (replace(GOOD, agents_alive=False), "an agent ended"),
        (
            replace(GOOD, waves=[Wave("UDP", 1000, 2500, 400, 2.0)]),
            "UDP: 400 of 1000 frames reached node-1: this was no flood",
        ),
        (
            replace(GOOD, clients=[clients("established", 200, 199)]),
            "established, TCP, NodePort: 1 of 200 messages lost {'timeout': 1}",
        ),
        (
            replace(GOOD, clients=[clients("established", 200, 200, breaks=1)]),
            "established, TCP, NodePort: 0 of 200 messages lost, 1 connections broken",
        ),
        (
            replace(GOOD, clients=[clients("new, meanwhile", 200, 197)]),
            "new, meanwhile, TCP, NodePort: 98.5 % of 200 were answered {'timeout': 3}",
        ),
        (replace(GOOD, clients=[clients("new, meanwhile", 0, 0)]), "new, meanwhile, TCP, NodePort: nothing was asked"),
    ],
)
def test_what_is_held_against_it(report: FloodReport, complaint: str) -> None:
    assert report.complaints() == [complaint]
    assert list(report.lines())[-2:] == [f"failed: {complaint}", "flood: FAILED"]
