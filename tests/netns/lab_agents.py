"""Puts agents and backends on a lab for the netns tests: what each test module shares, and nothing about what it tests.

manifests (text) -> write_manifests -> folder -> agents_on(lab, folder) -> Agents, ready
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ebpflb.bench.agents import Agents
from ebpflb.bench.control import start_server
from ebpflb.bench.topology import Lab

TCP_PORT = 8080
UDP_PORT = 5353
WITH_CTRL_C = ("env", "--default-signal=INT")
"""Before a command that shall be interrupted: what a shell starts in the background ignores SIGINT, and so do we."""

_UNHURRIED = """
from ebpflb.files import config_file, folder
from ebpflb.host import netlink, opt_out_watcher
config_file.RESCAN_MS = folder.RESCAN_MS = 3_600_000
netlink.CHECK_SECONDS = opt_out_watcher.PERIOD_S = 3600
from ebpflb.cli import main
main()
"""
UNHURRIED = (sys.executable, "-c", _UNHURRIED)
"""An agent that does not look again, just because time has passed, at manifests, its configuration file, devices,
addresses and namespaces that are opted out: what it follows of these, it was told of. It still sweeps flows."""


def write_manifests(folder: Path, manifests: Mapping[str, str]) -> None:
    """Write each manifest under its file name, replacing it in one step as editors and kubectl-like tools do."""
    for name, text in manifests.items():
        aside = folder / f".{name}.new"
        aside.write_text(text, encoding="utf-8")
        aside.replace(folder / name)


def serve_everywhere(lab: Lab) -> None:
    """Start a backend in every pod; it answers with the pod's name on TCP 8080 and UDP 5353."""
    for pod in lab.pods:
        start_server(pod, tcp=[TCP_PORT], udp=[UDP_PORT])


@contextmanager
def agents_on(lab: Lab, manifests: Path, *flags: str) -> Iterator[Agents]:
    """Run a ready agent on each node for the length of the block, and clean up after."""
    with (
        tempfile.TemporaryDirectory(prefix="ebpflb-state-") as state,
        Agents(lab, manifests, Path(state), flags) as agents,
    ):
        yield agents
