"""The wording of failures, the joining of complaints, and the delays between attempts."""

import random

import pytest
import urllib3

from ebpflb.kube.backoff import FIRST_DELAY_S, MAX_DELAY_S, Backoff
from ebpflb.kube.faults import Faults, failed_connection, failed_request
from tests.kube.recorder import RecordingSink

SERVER = "https://api:6443"


def test_delays_double_up_to_the_maximum_and_start_again() -> None:
    backoff = Backoff(random.Random(7))
    delays = [backoff.next_s() for _ in range(12)]
    for step, delay_s in enumerate(delays):
        ceiling_s = min(FIRST_DELAY_S * 2**step, MAX_DELAY_S)
        assert ceiling_s / 2 <= delay_s <= ceiling_s
    backoff.reset()
    assert backoff.next_s() <= FIRST_DELAY_S


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib3.exceptions.SSLError("certificate verify failed"), "TLS with the API server"),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "x"), "cannot be reached: it did not answer in time"),  # type: ignore[arg-type]
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached: Connection refused"),
        (urllib3.exceptions.ProtocolError("Connection\nbroken"), "cannot be reached: Connection broken"),
        (urllib3.exceptions.ProtocolError(), "cannot be reached: ProtocolError"),
    ],
)
def test_connection_errors_are_one_line_with_a_remedy(error: Exception, words: str) -> None:
    failure = failed_connection(SERVER, error)
    assert words in failure.message
    assert failure.remedy
    assert failure.stale_credentials is isinstance(error, urllib3.exceptions.SSLError)


def test_a_wrapped_error_shows_its_cause() -> None:
    wrapped = urllib3.exceptions.ProtocolError("('Connection aborted.', <object at 0x7f>)")
    wrapped.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert failed_connection(SERVER, wrapped).message.endswith("cannot be reached: Connection reset by peer")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 0), ({"Retry-After": "7"}, 7), ({"Retry-After": "99999"}, 60), ({"Retry-After": "Mon, 1 Jan"}, 0)],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    failure = failed_request(SERVER, "/api/v1/services", 429, "slow down", headers)
    assert failure.retry_after_s == seconds
    assert "status 429: slow down" in failure.message
    assert failure.status == 429


def test_complaints_are_joined_once_each_and_told_only_when_they_change() -> None:
    sink = RecordingSink()
    faults = Faults(sink)
    faults.report("Service", "")
    faults.report("Service", "down")
    faults.report("Node", "down")
    faults.report("Node", "forbidden")
    faults.report("Service", "")
    faults.report("Node", "")
    assert sink.errors == ["down", "down | forbidden", "forbidden", ""]
