"""Gets kernels: finds Debian's package of a version, downloads and unpacks it, and makes what boots it.

    "5.10" -> newest linux-image-5.10.* -> <cache>/<package>/{boot, lib/modules} -> Image (kernel, initramfs, modules)

Nothing is installed. The mirror is the machine's own, asked of apt; the list of packages stands in a private apt state.
"""

import lzma
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "bookworm"}
"""Version of Linux -> the Debian release that has it."""

_BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_INIT = Path(__file__).with_name("init.sh")
_BUSYBOX = "/bin/busybox"


class KernelError(Exception):
    """A kernel cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel that can be booted."""

    version: str
    """As asked for: ``5.10``."""
    release: str
    """As ``uname -r`` says it."""
    kernel: Path
    initramfs: Path
    modules: Path
    """The ``lib/modules`` folder."""


def cache_folder() -> Path:
    """Return where kernels are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ebpflb" / "kernels"


def fetch(version: str, cache: Path) -> Image:
    """Return the kernel of a version; downloads it unless it is in the cache."""
    if version not in SUITES:
        raise KernelError(f"no kernel {version}: known are {', '.join(SUITES)}")
    folder = cache / version
    if not folder.is_dir():
        staging = cache / f"{version}-staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        _download(version, cache / "apt", staging)
        staging.rename(folder)
    (modules,) = (folder / "lib/modules").iterdir()
    image = Image(version, modules.name, folder / f"boot/vmlinuz-{modules.name}", folder / "initramfs", modules.parent)
    _make_initramfs(image, folder)
    return image


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    except FileNotFoundError as error:
        raise KernelError(f"{command[0]} is not installed: `make kernels` installs it") from error
    except subprocess.CalledProcessError as error:
        raise KernelError(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return done.stdout


def _download(version: str, state: Path, folder: Path) -> None:
    """Unpack the newest package of a version into a folder."""
    lists = state / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    sources.write_text("".join(f"{line}\n" for line in _sources(SUITES[version])))
    options = []
    for name, value in {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": lists,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "",  # _apt cannot read a home folder
    }.items():
        options += ["-o", f"{name}={value}"]
    _run("apt-get", *options, "-q", "update")
    found = _run("apt-cache", *options, "search", "--names-only", rf"^linux-image-{re.escape(version)}\.")
    _run("apt-get", *options, "-q", "download", newest(version, found), cwd=folder)
    (package,) = folder.glob("*.deb")
    _run("dpkg-deb", "-x", str(package), str(folder))
    package.unlink()
    (modules,) = (folder / "lib/modules").iterdir()
    _run("depmod", "-b", str(folder), modules.name)


def newest(version: str, found: str) -> str:
    """Return the newest plain package among the lines of ``apt-cache search``."""
    plain = re.compile(rf"linux-image-{re.escape(version)}\.\d+(-\d+|\+deb\d+)-amd64(?= - )")
    names = [match[0] for line in found.splitlines() if (match := plain.match(line))]
    if not names:
        raise KernelError(f"the mirror has no linux-image-{version}.*-amd64 in {SUITES[version]}")
    return max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _sources(suite: str) -> list[str]:
    """Return the apt lines of a suite at the places where this machine gets its own packages."""
    codename = _run("sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"').strip()
    targets = _run("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages")
    places = dict(line.split(" ", 1) for line in targets.splitlines())
    lines = [
        f"deb [signed-by={_KEYRING}] {places[codename + kind]} {suite}{kind} main"
        for kind in ("", "-security")
        if codename + kind in places
    ]
    if not lines:
        raise KernelError(f"apt knows no source for {codename}: is this Debian?")
    return lines


def _make_initramfs(image: Image, folder: Path) -> None:
    """Pack busybox, the modules that reach the machine's files, and init."""
    root = folder / "initramfs-root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "modules", "dev", "machine", "fresh", "tree", "venv", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(_BUSYBOX, root / "bin/busybox")
    shutil.copy(_INIT, root / "init")
    (root / "init").chmod(0o755)
    order = []
    for path in _boot_modules(image, folder):
        data = path.read_bytes()
        name = path.name.removesuffix(".xz")
        (root / "modules" / name).write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
        order.append(name)
    (root / "modules/order").write_text("".join(f"{name}\n" for name in order))
    pack = f"find . | {_BUSYBOX} cpio -o -H newc | gzip -1 >{image.initramfs}"
    _run("sh", "-e", "-c", pack, cwd=root)
    shutil.rmtree(root)


def _boot_modules(image: Image, folder: Path) -> list[Path]:
    """Return the files of the boot modules and all they need, in the order of loading."""
    paths: dict[Path, None] = {}
    for module in _BOOT_MODULES:
        shown = _run("modprobe", "-d", str(folder), "-S", image.release, "--show-depends", module)
        for line in shown.splitlines():
            kind, _space, rest = line.partition(" ")
            if kind == "insmod":
                paths[Path(rest.split()[0])] = None
    return list(paths)
