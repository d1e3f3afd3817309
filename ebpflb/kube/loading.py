"""Runs the child that reads credentials, and takes its answer.

Decides how long it may take, and that none of it stays: no process, no file. Knows nothing of kubeconfigs.

    Request --> Loading (the child works while others do) --result--> Credentials, or UsageError
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from ebpflb.errors import UsageError
from ebpflb.kube.credential_form import Answer, Credentials, Request

LIMIT_S = 60.0
"""From the child's start. Exec plugins ask their cloud, which takes seconds; a node that boots has no core to spare."""
_GRACE_S: Final = 5.0
"""For who comes to take the answer when the limit is over already."""
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_REMEDY: Final = "check the exec plugin or the auth provider that the kubeconfig names"

_LOG = logging.getLogger(__name__)


class Loading:
    """One run of the child, from its start on. ``result`` is for one thread; ``abort`` for any."""

    def __init__(self, kubeconfig: Path | None, context: str | None, server: str) -> None:
        self._what = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        self._began = time.monotonic()
        self._folder = _make_folder()
        request = Request(os.getpid(), str(kubeconfig or ""), context or "", server, self._folder)
        try:
            self._child = _start(request)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            reason = f"{self._what} cannot be read: no process can be started ({error.strerror})"
            raise UsageError(reason, remedy="check the machine's limits of processes and memory") from error

    def result(self) -> Credentials:
        """Wait for the answer. Raises ``UsageError``, with the child's words if it had any."""
        left_s = max(self._began + LIMIT_S - time.monotonic(), _GRACE_S)
        try:
            out, said = self._child.communicate(timeout=left_s)
        except subprocess.TimeoutExpired:
            self.abort()
            self._child.communicate()
            raise UsageError(f"{self._what} was not read within {LIMIT_S:.0f} s", remedy=_REMEDY) from None
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
        answer = self._decode(out, lines)
        for line in (*lines, *(answer.credentials.remarks if answer.credentials else ())):
            _LOG.warning("credentials said=%r", line)
        if answer.credentials is None:
            raise UsageError(answer.message, remedy=answer.remedy)
        return answer.credentials

    def abort(self) -> None:
        """End the child, and the plugin that it may be waiting for."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Have nothing left of a run whose answer nobody wants. No harm after ``result``."""
        self.abort()
        self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _decode(self, out: bytes, said: list[str]) -> Answer:
        try:
            return msgspec.json.decode(out, type=Answer)
        except msgspec.DecodeError as error:
            how = f"exit code {self._child.returncode}"
            words = f": {said[-1]}" if said else ""
            raise UsageError(f"{self._what} cannot be read ({how}){words}", remedy=_REMEDY) from error


def _make_folder() -> str:
    """Return a new folder that only we can enter, in memory if there is such a place; "" if there is no place at all.

    The package writes into it what the kubeconfig holds inline. Without a folder it tries for itself, if it has to.
    """
    for place in (_IN_MEMORY, None):
        with suppress(OSError):
            return tempfile.mkdtemp(prefix="ebpflb-credentials-", dir=place)
    return ""


def _start(request: Request) -> subprocess.Popen[bytes]:
    """Start the child. In a process group of its own: its plugins end with it, and Ctrl-C is for the agent.

    ``-P``: nothing is imported from the folder that we happen to be started in.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ebpflb.kube.credentials", msgspec.json.encode(request).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
