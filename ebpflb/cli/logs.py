"""The agent's log: one line a record on stderr, as ``key=value`` text or as JSON.

Decides the form and how much is said. Messages begin with the name of an event (``bpffs_mounted point=/sys/fs/bpf``);
those that operators of kube-proxy look for have its words (``Setting endpoints for default/web:http to [...]``).

    LogRecord --KeyValueFormatter--> time=... level=... source=... event=...
    LogRecord --JsonFormatter--> {"ts": ..., "level": ..., "logger": ..., "msg": ..., fields of the message}
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

DEBUG_VERBOSITY = 4
"""kube-proxy's level for "what an engineer wants to see"."""
LIBRARIES_VERBOSITY = 8
"""kube-proxy's level for the contents of requests: what the libraries beneath have to say."""

_PAIR = re.compile(r"""(?P<key>[A-Za-z_]\w*)=(?P<value>'[^']*'|"[^"]*"|\S*)""")
_PLACEHOLDER = re.compile(r"%[^%a-zA-Z]*[a-zA-Z]")
_PLAIN = (bool, int, str, type(None))


class KeyValueFormatter(logging.Formatter):
    """Writes a record as ``key=value`` pairs on one line, whatever its message holds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f"time={moment} level={record.levelname.lower()} source={_source(record)} event={record.getMessage()}"
        if record.exc_info:
            line += f" traceback={self.formatException(record.exc_info)!r}"
        return line.replace("\n", "\\n")


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object; ``key=value`` pairs of its message become fields, numbers stay numbers."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message, fields = _take_apart(record)
        header = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": _source(record),
            "msg": message,
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields | header, default=str, allow_nan=False)


_FORMS: Mapping[str, type[logging.Formatter]] = {"text": KeyValueFormatter, "json": JsonFormatter}
FORMS = tuple(_FORMS)
"""What ``--logging-format`` takes."""


def set_up_logging(*, debug: bool = False, form: str = "text", verbosity: int = 0) -> None:
    """Send this package's records, and warnings of others, to stderr in one of ``FORMS``.

    ``verbosity`` is klog's ``-v``: below 4 nothing is added to what an operator needs, which is said at 0; from 4 on
    everything of this package is there, as with ``debug``; from 8 on everything of the libraries, too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMS[form]())
    others = logging.DEBUG if verbosity >= LIBRARIES_VERBOSITY else logging.WARNING
    logging.basicConfig(handlers=[handler], level=others, force=True)
    logging.getLogger("ebpflb").setLevel(logging.DEBUG if debug or verbosity >= DEBUG_VERBOSITY else logging.INFO)


def _source(record: logging.LogRecord) -> str:
    return record.name.removeprefix("ebpflb.")


def _take_apart(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return the name of the event and the pairs behind it; the whole message where it is not of that shape."""
    template, args = str(record.msg), record.args or ()
    pairs = list(_PAIR.finditer(template))
    head = template[: pairs[0].start()] if pairs else template
    is_an_event = head.strip() and not _PAIR.sub("", template[len(head) :]).strip()
    if not is_an_event or not isinstance(args, tuple) or _wanted(template) != len(args):
        return record.getMessage(), {}
    rest = list(args)
    message = _fill(head, rest)
    return str(message).strip(), {pair["key"]: _fill(pair["value"], rest) for pair in pairs}


def _is_json(value: object) -> bool:
    """Return whether JSON has a word for a value: it has none for NaN and the infinities."""
    return isfinite(value) if isinstance(value, float) else type(value) in _PLAIN


def _wanted(text: str) -> int:
    """Return how many arguments a text asks for; ``%%`` is a percent sign."""
    return len(_PLACEHOLDER.findall(text.replace("%%", "")))


def _fill(text: str, args: list[object]) -> object:
    """Return the text with as many arguments as it asks for; an argument that stands alone stays what it is."""
    wanted = _wanted(text)
    taken = tuple(args.pop(0) for _ in range(wanted))
    if wanted == 1 and _PLACEHOLDER.fullmatch(text):
        return taken[0] if _is_json(taken[0]) else str(taken[0])
    return (text % taken if wanted else text).strip("'\"")
