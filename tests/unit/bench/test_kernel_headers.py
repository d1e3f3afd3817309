"""Which tree of kernel headers is found: one's own before another's, whole before none, the newest of the others."""

import platform
from pathlib import Path

from ebpflb.bench.kernel_headers import find_headers


def make(folder: Path, *, generated: bool = True, common: bool = True) -> Path:
    for name, is_there in (("include/generated/autoconf.h", generated), ("include/linux/kconfig.h", common)):
        if is_there:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    return folder


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    make(tmp_path / "usr/src/linux-headers-6.1-common", generated=False)
    assert find_headers(tmp_path) is None


def test_the_running_kernels_come_first(tmp_path: Path) -> None:
    make(tmp_path / "usr/src/linux-headers-9.9")
    own = make(tmp_path / "lib/modules" / platform.release() / "build")
    found = find_headers(tmp_path)
    assert found is not None
    assert (found.tree, found.flags) == (own, ())


def test_the_newest_others_come_next(tmp_path: Path) -> None:
    for version in ("6.9.0", "6.10.0", "5.15.0"):
        make(tmp_path / f"usr/src/linux-headers-{version}")
    found = find_headers(tmp_path)
    assert found is not None
    assert found.tree.name == "linux-headers-6.10.0"


def test_what_debian_splits_is_put_together(tmp_path: Path) -> None:
    common = make(tmp_path / "usr/src/linux-headers-6.1-common", generated=False)
    split = make(tmp_path / "usr/src/linux-headers-6.1-amd64", common=False)
    (split / "arch/x86/include/generated").mkdir(parents=True)
    (split / "Makefile").write_text("include /usr/src/linux-headers-6.1-common/Makefile\n")
    found = find_headers(tmp_path)
    assert found is not None
    assert found.tree == common
    assert f"-I{split}/arch/x86/include/generated/uapi" in found.flags
    assert all(Path(flag.removeprefix("-I")).is_relative_to(split) for flag in found.flags)
