"""Where namespaces are looked for, in a /proc of the test's; whether the kernel agrees is for tests/netns."""

from pathlib import Path

import pytest

from ebpflb.host.namespaces import network_namespaces


class Proc:
    """A folder like /proc: links to namespaces lead to files, so that they can be opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sys").mkdir()
        self.process("self", 1)

    def process(self, name: str | int, netns: int, mounts: int = 1) -> Path:
        process = self.folder / str(name)
        self.link(process / "ns/net", f"net:[{netns}]")
        self.link(process / "ns/mnt", f"mnt:[{mounts}]")
        self.link(process / f"task/{name}/ns/net", f"net:[{netns}]")
        (process / "mountinfo").write_text("22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n")
        return process

    def link(self, path: Path, target: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / target).touch()
        path.symlink_to(target)

    def mount(self, process: Path, point: str, root: str, *, is_there: bool = True) -> None:
        with (process / "mountinfo").open("a") as table:
            table.write(f"53 43 0:4 {root} {point} rw shared:11 - nsfs nsfs rw\n")
        path = process / "root" / point.lstrip("/").replace("\\040", " ")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_there:
            path.touch()

    def found(self, most_links: int = 100) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in network_namespaces(self.folder, most_links)]


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_each_namespace_has_one_path_whoever_is_in_it(proc: Proc) -> None:
    proc.process(1, 1)
    proc.process(2, 1)
    proc.process(3, 2)
    found = proc.found()
    assert len(found) == 2
    assert set(found) <= {"1/ns/net", "2/ns/net", "3/ns/net"}


def test_mounts_are_found_in_every_mount_namespace(proc: Proc) -> None:
    own, runtime = proc.process(1, 1), proc.process(2, 1, mounts=2)
    proc.mount(proc.folder / "self", "/run/netns/a\\040pod", "net:[7]")
    proc.mount(own, "/never/read", "net:[9]")  # the same mount namespace: read once
    proc.mount(runtime, "/var/run/netns/cni-1", "net:[8]")
    proc.mount(runtime, "/run/mntns", "mnt:[10]")
    assert proc.found()[1:] == ["self/root/run/netns/a pod", "2/root/var/run/netns/cni-1"]


def test_what_cannot_be_reached_by_one_path_is_found_by_another(proc: Proc) -> None:
    process = proc.process(1, 1, mounts=2)
    proc.mount(proc.folder / "self", "/hidden", "net:[7]", is_there=False)
    proc.mount(process, "/run/netns/seven", "net:[7]")
    assert proc.found()[1:] == ["1/root/run/netns/seven"]


def test_threads_and_open_files_are_looked_at_last(proc: Proc) -> None:
    process = proc.process(1, 1)
    proc.link(process / "task/11/ns/net", "net:[2]")
    proc.link(process / "fd/0", "pipe:[5]")
    proc.link(process / "fd/3", "net:[3]")
    proc.link(process / "fd/4", "net:[1]")
    proc.mount(proc.folder / "self", "/run/netns/four", "net:[4]")
    assert proc.found() == ["1/ns/net", "self/root/run/netns/four", "1/task/11/ns/net", "1/fd/3"]


def test_the_search_of_open_files_is_bounded(proc: Proc) -> None:
    process = proc.process(1, 1)
    for number in range(5):
        proc.link(process / f"fd/{number}", f"net:[{10 + number}]")
    assert len(proc.found(most_links=2)) <= 1 + 2
    assert proc.found(most_links=0) == ["1/ns/net"]
    assert len(proc.found()) == 6


def test_processes_that_end_meanwhile_are_passed_over(proc: Proc) -> None:
    proc.process(1, 1)
    (proc.folder / "2").mkdir()
    (proc.folder / "2" / "ns").symlink_to("net:[9]")
    assert proc.found() == ["1/ns/net"]
