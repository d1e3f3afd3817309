import signal
import threading

import pytest

from ebpflb.bench.signals import SignalsAsExceptions, shielded


def test_sigterm_unwinds_inside_and_is_itself_again_after() -> None:
    with pytest.raises(SystemExit) as ended, SignalsAsExceptions(signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_someone_elses_handler_is_left_alone() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    try:
        with SignalsAsExceptions(signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_a_shielded_block_finishes_before_ctrl_c_arrives() -> None:
    steps: list[str] = []

    def interrupted_removal() -> None:
        with shielded(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
            steps.append("removed")
        steps.append("unreachable")

    # A session that a shell started in the background ignores Ctrl-C, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_removal()
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == ["removed"]


def test_other_threads_may_build_labs_too() -> None:
    errors: list[BaseException] = []

    def use() -> None:
        try:
            with SignalsAsExceptions(signal.SIGTERM), shielded(signal.SIGTERM):
                pass
        except BaseException as error:  # noqa: BLE001 - carried to the test's thread
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert errors == []
