"""What every test session obeys: root tests need root, skips need a known reason, nothing may be left behind."""

import os
import re
from collections.abc import Iterator

import pytest

from tests import residue

ALLOWED_SKIPS = (
    re.compile(r"needs root: euid is [1-9]\d*"),
    re.compile(r"needs a real API server: EBPFLB_TEST_KUBECONFIG is not set"),
    re.compile(r"needs CONFIG_INET_DIAG_DESTROY: this kernel refuses to destroy sockets"),
    re.compile(r"needs Linux 6\.3: this kernel does not tell what XDP can do with a device"),
    re.compile(r"needs the kernel's configuration: /proc/config\.gz and /boot/config-\S+ are not there"),
    re.compile(r"needs a \w+ device: this kernel has none"),
    re.compile(r"needs SCTP sockets: this kernel has none"),
)
"""A skip whose reason fits none of these fails the session: a test that silently stops running protects nothing."""

_unexpected_skips: list[str] = []
_left_to_others: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip root tests where root is missing."""
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason=f"needs root: euid is {os.geteuid()}")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(needs_root)


def is_allowed_skip(reason: str) -> bool:
    """Say whether a skip's reason is one that the session accepts."""
    return any(allowed.fullmatch(reason) for allowed in ALLOWED_SKIPS)


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = words.removeprefix("Skipped: ")
    if not is_allowed_skip(reason):
        _unexpected_skips.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look at each test's skips."""
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Look at each module's skips."""
    _note_skip(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session for unexpected skips."""
    if _unexpected_skips and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the unexpected skips, and what was not checked."""
    if _left_to_others:
        terminalreporter.section("new on this machine: another session lives, and may own it", yellow=True)
        for line in _left_to_others:
            terminalreporter.line(line)
    if _unexpected_skips:
        terminalreporter.section("unexpected skips: the session fails", red=True)
        for line in _unexpected_skips:
            terminalreporter.line(line)


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the machine before and after a session with root tests."""
    is_root_session = os.geteuid() == 0 and any(item.get_closest_marker("root") for item in request.session.items)
    if not is_root_session:
        yield
        return
    mark = str(os.getpid())
    with residue.session_lock() as lock, pytest.MonkeyPatch.context() as environment:
        environment.setenv(residue.SESSION_MARK, mark)
        before = residue.snapshot(mark)
        yield
        verdict = residue.wait_until_clean(before, mark, lock)
        _left_to_others.extend(verdict.others)
        if verdict.ours:
            pytest.fail("left behind:\n  " + "\n  ".join(verdict.ours), pytrace=False)
