import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpflb.cli.logs import FORMS, JsonFormatter, KeyValueFormatter, set_up_logging


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


def fields(message: str, *arguments: object, exc_info: bool = False) -> dict[str, Any]:
    record = logging.LogRecord(
        "ebpflb.host.tc", logging.INFO, "", 0, message, arguments, sys.exc_info() if exc_info else None
    )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    assert isinstance(found.pop("ts"), float)
    assert (found.pop("level"), found.pop("logger")) == ("info", "host.tc")
    return found


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("stopped", (), {"msg": "stopped"}),
        (
            "build_%s family=%s seconds=%.2f objects=%d is_new=%s",
            ("adopted", "IPV4", 0.25, 7, True),
            {"msg": "build_adopted", "family": "IPV4", "seconds": 0.25, "objects": 7, "is_new": True},
        ),
        ("refused reason=%r path=%s", ("a b", Path("/x")), {"msg": "refused", "reason": "a b", "path": "/x"}),
        (
            "tls_unverified server=%r remedy='set certificate-authority' traffic=goes_on",
            ("https://api",),
            {
                "msg": "tls_unverified",
                "server": "https://api",
                "remedy": "set certificate-authority",
                "traffic": "goes_on",
            },
        ),
        ("slept %s, then name=x went on", ("5s",), {"msg": "slept 5s, then name=x went on"}),
        ("devices=%s-%s", ("a", "b"), {"msg": "devices=a-b"}),
        (
            "Setting endpoints for %s to [%s]",
            ("default/web:http", "10.0.0.1:80"),
            {"msg": "Setting endpoints for default/web:http to [10.0.0.1:80]"},
        ),
        ("odd\n%(a)s name=%(a)s", ({"a": 1},), {"msg": "odd\n1 name=1"}),
        ("full used=%d%% of=%s-%s", (7, "a", "b"), {"msg": "full", "used": "7%", "of": "a-b"}),
    ],
)
def test_pairs_become_fields_of_json(template: str, arguments: tuple[object, ...], expected: dict[str, Any]) -> None:
    assert fields(template, *arguments) == expected


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_json_has_no_number_for_is_text(value: str) -> None:
    assert fields("slept seconds=%s last=%.3f", float(value), 0.5) == {"msg": "slept", "seconds": value, "last": 0.5}


def test_a_traceback_is_a_field_of_json() -> None:
    try:
        int("odd")
    except ValueError:
        assert "invalid literal" in fields("failed task=%r", "x", exc_info=True)["traceback"]


@pytest.fixture(name="restored_logging")
def _restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("ebpflb")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize(
    ("settings", "ours", "others"),
    [
        ({}, logging.INFO, logging.WARNING),
        ({"verbosity": 3}, logging.INFO, logging.WARNING),
        ({"verbosity": 4}, logging.DEBUG, logging.WARNING),
        ({"debug": True}, logging.DEBUG, logging.WARNING),
        ({"verbosity": 8}, logging.DEBUG, logging.DEBUG),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_how_much_is_said(form: str, settings: dict[str, Any], ours: int, others: int) -> None:
    set_up_logging(form=form, **settings)
    assert logging.getLogger("ebpflb.kube").getEffectiveLevel() == ours
    assert logging.getLogger("urllib3").getEffectiveLevel() == others
