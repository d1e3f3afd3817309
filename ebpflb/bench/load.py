"""The load tool: decides how many requests, how fast, on how many sockets; the exchanges are in clients.py.

    python -m ebpflb.bench.load tcp 10.96.0.10:80 --count 100          -> one JSON line: Report
    python -m ebpflb.bench.load tcp 10.96.0.10:80 --rate 100           -> "ready" when load flows, Report when told
    python -m ebpflb.bench.load tcp 10.96.0.10:80 --rate 100 --keep    -> the same on one connection
    python -m ebpflb.bench.load udp 10.96.0.53:53 --connected --keep   -> the same over UDP
    python -m ebpflb.bench.load bulk 10.96.0.10:80 --megabytes 100     -> one JSON line: BulkReport

Without ``--count`` it runs until ``--seconds`` are over, a line or the end of file comes on stdin, or SIGTERM comes.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from ebpflb.bench.clients import Exchange, Target, TcpSession, UdpSession
from ebpflb.bench.protocol import expected
from ebpflb.bench.report import Report, Tally
from ebpflb.bench.servers import die_with_parent

MEGABYTE = 1_000_000
Session = TcpSession | UdpSession


@dataclass(frozen=True, slots=True)
class Pace:
    """How much, how fast."""

    count: int = 0
    """0: until stopped."""
    rate: float = 0.0
    """Requests a second; 0: one after the other without a pause."""
    seconds: float = 0.0
    """0: no limit."""


@dataclass(frozen=True, slots=True)
class BulkReport:
    """The result of a bulk transfer."""

    length: int
    intact_up: bool
    intact_down: bool
    seconds_up: float
    seconds_down: float


class StopSignal:
    """Says when to end: SIGTERM, or anything on stdin, by one select() that is also the pacing clock."""

    def __init__(self) -> None:
        self._stopped = False
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)

    def wait(self, seconds: float) -> bool:
        """Wait, but not beyond a stop; return whether to stop."""
        if not self._stopped:
            readable, _, _ = select.select([self._wake, sys.stdin], [], [], max(seconds, 0.0))
            self._stopped = bool(readable)
        return self._stopped


def never_stopped(seconds: float) -> bool:
    """Wait the time out: for runs that their count or time ends."""
    time.sleep(max(seconds, 0.0))
    return False


class Fresh:
    """Every request on its own socket."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._connect = connect

    def ask(self) -> Exchange:
        """Open, ask, close."""
        with self._connect() as session:
            return session.ask()


class Kept:
    """Requests on one socket for as long as it lives; what ends it is counted, then another is opened."""

    def __init__(self, connect: Callable[[], Session], tally: Tally) -> None:
        self._connect = connect
        self._tally = tally
        self._session: Session | None = None

    def ask(self) -> Exchange:
        """Ask on the kept socket."""
        if self._session is None:
            self._session = self._connect()
        try:
            return self._session.ask()
        except OSError:
            self._tally.breaks += 1
            self._session.__exit__(None, None, None)
            self._session = None
            raise


def run_requests(
    requester: Fresh | Kept,
    tally: Tally,
    pace: Pace,
    stopped: Callable[[float], bool] = never_stopped,
    on_first: Callable[[], None] = lambda: None,
) -> Report:
    """Ask at the pace until it is over; failures are counted, and never end the run."""
    start = time.monotonic()
    done = 0
    while True:
        begun = time.monotonic()
        try:
            exchange = requester.ask()
        except OSError as error:
            tally.failure(error)
        else:
            tally.answer(exchange.backend, exchange.client, exchange.peer, begun, time.monotonic())
        done += 1
        if done == 1:
            on_first()
        if done == pace.count or (pace.seconds and time.monotonic() - start >= pace.seconds):
            break
        due = start + done / pace.rate if pace.rate else begun
        if stopped(due - time.monotonic()):
            break
    return tally.report()


def run_bulk(target: Target, length: int) -> BulkReport:
    """Transfer up, then down, each on its own connection, and compare checksums."""
    intact = expected(length)
    begun = time.monotonic()
    with TcpSession(target) as session:
        up = session.upload(length)
    middle = time.monotonic()
    with TcpSession(target) as session:
        down = session.download(length)
    ended = time.monotonic()
    return BulkReport(length, up == intact, down == intact, round(middle - begun, 3), round(ended - middle, 3))


def connector(arguments: argparse.Namespace, target: Target) -> Callable[[], Session]:
    """Return what opens one session of the asked kind."""
    if arguments.mode == "tcp":
        return lambda: TcpSession(target)
    return lambda: UdpSession(target, connected=arguments.connected, payload_bytes=arguments.payload)


def parse_target(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[host]:port``."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="load and distribution of a frontend, as JSON")
    modes = parser.add_subparsers(dest="mode", required=True)
    for mode in ("tcp", "udp", "bulk"):
        one = modes.add_parser(mode)
        one.add_argument("target", type=parse_target, metavar="HOST:PORT")
        one.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS")
        one.add_argument("--source-host", default="")
        one.add_argument("--source-port", type=int, default=0)
        if mode == "bulk":
            one.add_argument("--megabytes", type=int, default=100)
            continue
        one.add_argument("--count", type=int, default=0)
        one.add_argument("--rate", type=float, default=0.0)
        one.add_argument("--seconds", type=float, default=0.0)
        one.add_argument("--keep", action="store_true", help="one socket for all requests")
        if mode == "udp":
            one.add_argument("--connected", action="store_true", help="connect() the socket")
            one.add_argument("--payload", type=int, default=0, metavar="BYTES")
    return parser


@contextlib.contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        sys.exit(f"load: {error}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one mode and print its report as the last line."""
    arguments = _parser().parse_args()
    die_with_parent()
    host, port = arguments.target
    target = Target(host, port, arguments.timeout, arguments.source_host, arguments.source_port)
    if arguments.mode == "bulk":
        with _failures_in_words():
            _say(json.dumps(asdict(run_bulk(target, arguments.megabytes * MEGABYTE))))
        return
    tally = Tally()
    connect = connector(arguments, target)
    requester = Kept(connect, tally) if arguments.keep else Fresh(connect)
    pace = Pace(arguments.count, arguments.rate, arguments.seconds)
    commanded = not (pace.count or pace.seconds)
    report = run_requests(
        requester,
        tally,
        pace,
        StopSignal().wait if commanded else never_stopped,
        (lambda: _say("ready")) if commanded else (lambda: None),
    )
    _say(report.to_json())


if __name__ == "__main__":
    main()
