"""One veth into a namespace of the test, and programs to put on it; what `ip` sees there.

veth_pair() -> Link of up0 here (192.0.2.1), up1 in the namespace FAR (192.0.2.2)      make_program -> pin, id
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ebpflb.host import bpf_links, syscalls
from ebpflb.host.links import Link
from tests.netns.host_helpers import inside, namespace, run

_XDP = 6
_PASS = bytes.fromhex("b700000002000000 9500000000000000")
FAR = f"ebpflb-t-{os.getpid()}-xdp-far"
FOLDER = Path("/sys/fs/bpf") / f"ebpflb-t-xdp-{os.getpid()}"


@contextmanager
def bpf_folder() -> Iterator[Path]:
    """Make a folder on bpffs for programs and links."""
    FOLDER.mkdir()
    try:
        yield FOLDER
    finally:
        shutil.rmtree(FOLDER)


@contextmanager
def veth_pair() -> Iterator[Link]:
    """Give one end of a veth pair; the other one, up1, has an address, and what it sends arrives at 192.0.2.1."""
    with namespace("xdp") as path, namespace("xdp-far") as far, inside(path):
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", far.name)
        for arguments in (
            ["addr", "add", "192.0.2.1/24", "dev", "up0"],
            ["link", "set", "up0", "up"],
            ["-n", far.name, "addr", "add", "192.0.2.2/24", "dev", "up1"],
            ["-n", far.name, "link", "set", "up1", "up"],
        ):
            run("ip", *arguments)
        yield Link(shown("up0")["ifindex"], "up0", "veth")


def shown(name: str) -> dict[str, Any]:
    (link,) = json.loads(run("ip", "-j", "-d", "link", "show", name))
    found: dict[str, Any] = link
    return found


def xdp_of(name: str) -> tuple[str, int] | None:
    """Return what `ip` says of a device: mode and program."""
    modes = {1: "native", 2: "generic"}
    xdp = shown(name).get("xdp")
    return (modes[xdp["mode"]], xdp["prog"]["id"]) if xdp else None


def make_program(folder: Path, name: str, instructions: bytes = _PASS) -> tuple[Path, int]:
    """Load and pin a program; return its pin and its id."""
    descriptor = syscalls.load_program(_XDP, 0, instructions, name.encode())
    try:
        path = folder / f"{name}-{descriptor}-{len(list(folder.iterdir()))}"
        bpf_links.pin(descriptor, path)
        return path, bpf_links.read_program(descriptor).id
    finally:
        os.close(descriptor)
