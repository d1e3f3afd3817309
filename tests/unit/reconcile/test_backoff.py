from ebpflb.reconcile.backoff import Backoff


def test_retries_come_twice_as_late_each_time_up_to_a_limit() -> None:
    backoff, now, delays = Backoff(), 100.0, []
    for _ in range(8):
        backoff.failed(now)
        assert backoff.due_at is not None
        delays.append(backoff.due_at - now)
        now = backoff.due_at
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_failure_before_the_retry_was_due_postpones_nothing() -> None:
    backoff = Backoff()
    backoff.failed(100.0)
    backoff.failed(100.5)
    assert backoff.due_at == 101.0


def test_success_starts_over() -> None:
    backoff = Backoff()
    backoff.failed(100.0)
    backoff.failed(101.0)
    backoff.succeeded()
    assert backoff.due_at is None
    backoff.failed(200.0)
    assert backoff.due_at == 201.0
