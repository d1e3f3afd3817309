from pathlib import Path

import pytest

from ebpflb.errors import PrerequisiteError
from ebpflb.host import mounts, syscalls
from ebpflb.host.mounts import Mount, cgroup2_mounts, ensure_bpffs, mount_of, parse_mounts

TABLE = """\
/dev/vda / ext4 rw,relatime 0 0
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
bpf /sys/fs/bpf bpf rw 0 0
bpf /mnt/with\\040space\\134x bpf rw 0 0
broken line
"""


def test_parses_the_table() -> None:
    table = parse_mounts(TABLE)
    assert table[0] == Mount("/dev/vda", Path("/"), "ext4", ("rw", "relatime"))
    assert len(table) == 6


def test_finds_cgroup_v2_beside_v1_and_every_bpffs() -> None:
    table = parse_mounts(TABLE)
    assert cgroup2_mounts(table) == [Path("/sys/fs/cgroup/unified")]
    assert [each.point for each in table if each.filesystem == "bpf"] == [
        Path("/sys/fs/bpf"),
        Path("/mnt/with space\\x"),
    ]


@pytest.mark.parametrize(
    ("path", "filesystem"),
    [
        ("/sys/fs/cgroup/unified/pods", "cgroup2"),
        ("/sys/fs/cgroup/cpu", "cgroup"),
        ("/sys/fs/cgroup", "tmpfs"),
        ("/sys/fs/bpf-not", "ext4"),
    ],
)
def test_a_path_lies_on_the_deepest_mount(path: str, filesystem: str) -> None:
    found = mount_of(Path(path), parse_mounts(TABLE))
    assert found is not None
    assert found.filesystem == filesystem


def test_the_latest_of_two_mounts_on_one_point_counts() -> None:
    found = mount_of(Path("/a/b"), parse_mounts("x /a tmpfs rw 0 0\ny /a bpf rw 0 0\n"))
    assert found is not None
    assert found.filesystem == "bpf"
    assert mount_of(Path("/b"), parse_mounts("x /a tmpfs rw 0 0\n")) is None


def test_a_path_elsewhere_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=rf"--bpffs {tmp_path}: lies on .*; use a path under /sys/fs/bpf"):
        ensure_bpffs(tmp_path)


def test_a_failed_mount_names_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str, filesystem: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(mounts, "read_mounts", lambda: parse_mounts("x / ext4 rw 0 0\n"))
    monkeypatch.setattr(syscalls, "mount", refuse)
    with pytest.raises(PrerequisiteError, match=r"Operation not permitted.*run as root"):
        ensure_bpffs(Path("/sys/fs/bpf/ebpflb"))


def test_mounts_only_the_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str, str]] = []
    monkeypatch.setattr(mounts, "read_mounts", lambda: parse_mounts("x / ext4 rw 0 0\n"))
    monkeypatch.setattr(syscalls, "mount", lambda *arguments: calls.append(arguments))
    assert ensure_bpffs(Path("/sys/fs/bpf/ebpflb"))
    assert calls == [("bpf", "/sys/fs/bpf", "bpf")]
