import errno

import pytest

from ebpflb.bench.report import ClosedError, Report, Tally, failure_reason, parse_report


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "ECONNREFUSED"),
        (TimeoutError("timed out"), "timeout"),
        (TimeoutError(errno.ETIMEDOUT, "kernel gave up"), "ETIMEDOUT"),
        (OSError(99999, "from the future"), "99999"),
        (OSError("mismatch"), "OSError"),
    ],
)
def test_failures_are_named(error: OSError, reason: str) -> None:
    assert failure_reason(error) == reason


def test_a_tally_counts_answers_failures_and_gaps() -> None:
    tally = Tally()
    tally.answer("web-1", "10.0.0.1:1000", "10.96.0.10:80", 1.000, 1.001)
    tally.answer("web-2", "10.0.0.1:1001", "10.96.0.10:80", 1.500, 1.504)
    tally.answer("web-1", "10.0.0.1:1002", "10.96.0.10:80", 1.600, 1.602)
    tally.failure(ClosedError("closed"))
    tally.failure(ConnectionResetError(errno.ECONNRESET, "reset"))
    tally.breaks += 1
    report = tally.report()
    assert report == Report(
        requests=5,
        answered=3,
        by_backend={"web-1": 2, "web-2": 1},
        failures={"closed": 1, "ECONNRESET": 1},
        breaks=1,
        latency_ms={"p50": 2.0, "p99": 4.0, "max": 4.0},
        peers=["10.96.0.10:80"],
        clients=["10.0.0.1"],
        longest_gap_ms=503.0,
    )
    assert report.failed == 2
    assert parse_report("ready\n" + report.to_json() + "\n") == report


def test_nothing_seen_is_reported_as_nothing() -> None:
    report = Tally().report()
    assert (report.requests, report.failed, report.latency_ms["max"]) == (0, 0, 0.0)
