"""The agent's log: one line a record on stderr, ``key=value`` throughout.

Decides the form only. Messages begin with the name of an event (``bpffs_mounted point=/sys/fs/bpf``).

    LogRecord -> KeyValueFormatter -> time=... level=... source=... event=...
"""

import logging
import sys
from datetime import UTC, datetime


class KeyValueFormatter(logging.Formatter):
    """Writes a record as ``key=value`` pairs on one line, whatever its message holds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        source = record.name.removeprefix("ebpflb.")
        line = f"time={moment} level={record.levelname.lower()} source={source} event={record.getMessage()}"
        if record.exc_info:
            line += f" traceback={self.formatException(record.exc_info)!r}"
        return line.replace("\n", "\\n")


def set_up_logging(*, debug: bool) -> None:
    """Send every record of this package, and warnings of others, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("ebpflb").setLevel(logging.DEBUG if debug else logging.INFO)
