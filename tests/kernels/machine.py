"""Runs a guest: QEMU with the machine's own files under a kernel of our choice.

    repository --snapshot--> tree;  Image, tree --boot--> lines of the guest's second serial port; its console: a file

Emulated unless told otherwise: a /dev/kvm inside a virtual machine may open and then stand still. The guest has no
network.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from tests.kernels.images import Image

_MEMORY_MB = 2048
_CPUS = 2


@contextmanager
def snapshot(repository: Path) -> Iterator[Path]:
    """Give a copy of the working tree: somebody may be editing it while a guest runs for minutes."""
    with TemporaryDirectory(prefix="ebpflb-kernels-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(repository, tree, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
        (tree / ".venv").mkdir()  # where the guest finds the machine's
        yield tree


def boot(
    image: Image, repository: Path, tree: Path, console: Path, *, seconds: float, accelerator: str
) -> Iterator[str]:
    """Give each line as the guest writes it; the guest ends by itself, or by force when its time is over.

    The guest sees ``tree`` in the repository's place.
    """
    with subprocess.Popen(
        ["nice", "-n", "10", *_qemu(image, repository, tree, console, accelerator)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what the accelerator does not emulate
        text=True,
        errors="replace",
    ) as guest:
        limit = Timer(seconds, guest.kill)
        limit.start()
        try:
            assert guest.stdout is not None
            for line in guest.stdout:
                yield line.strip()
        finally:
            limit.cancel()
            guest.kill()


def _qemu(image: Image, repository: Path, tree: Path, console: Path, accelerator: str) -> list[str]:
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", accelerator, "-cpu", "max"]
    command += ["-m", str(_MEMORY_MB), "-smp", str(_CPUS)]
    command += ["-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initramfs)]
    command += ["-append", f"console=ttyS0 quiet panic=-1 REPOSITORY={repository}"]
    command += ["-serial", f"file:{console}", "-serial", "stdio"]
    for tag, folder in (("machine", Path("/")), ("tree", tree), ("modules", image.modules)):
        share = f"local,path={folder},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"
        command += ["-virtfs", share]
    return command
