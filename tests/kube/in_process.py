"""Reads credentials in this process, for tests of something else: a child for each of them takes longer than they do.

Request --credentials.answer--> Credentials, or UsageError; tests/unit/kube/test_loading.py has the child
"""

import os
from pathlib import Path

import pytest

from ebpflb.errors import UsageError
from ebpflb.kube import vault
from ebpflb.kube.credential_form import Credentials, Request
from ebpflb.kube.credentials import answer


class InProcessReading:
    """Stands in for ``Loading``."""

    def __init__(self, kubeconfig: Path | None, context: str | None, server: str) -> None:
        self._answer = answer(Request(os.getpid(), str(kubeconfig or ""), context or "", server))

    def result(self) -> Credentials:
        if self._answer.credentials is None:
            raise UsageError(self._answer.message, remedy=self._answer.remedy)
        return self._answer.credentials

    def abort(self) -> None:
        """There is nothing to end."""

    def close(self) -> None:
        """There is nothing left."""


def read_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections made from now on read their credentials here."""
    monkeypatch.setattr(vault, "Loading", InProcessReading)
