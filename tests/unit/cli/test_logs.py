import logging
import re
import sys

from ebpflb.cli.logs import KeyValueFormatter


def line(message: str, *arguments: object, exc_info: bool = False) -> str:
    record = logging.LogRecord(
        "ebpflb.host.tc", logging.WARNING, "", 0, message, arguments, sys.exc_info() if exc_info else None
    )
    return KeyValueFormatter().format(record)


def test_a_record_is_one_line_of_pairs() -> None:
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 level=warning source=host\.tc event=device_lost name=eth0",
        line("device_lost name=%s", "eth0"),
    )


def test_whatever_the_message_holds() -> None:
    assert line("build_failed\nerror: x\n").endswith("event=build_failed\\nerror: x\\n")


def test_a_traceback_stays_on_the_line() -> None:
    try:
        int("odd")
    except ValueError:
        text = line("failed", exc_info=True)
    assert "\n" not in text
    assert "ValueError: invalid literal" in text
