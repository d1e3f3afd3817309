from pathlib import Path

import pytest

from ebpflb.bench.cgroups import find_mount
from ebpflb.errors import PrerequisiteError

HYBRID = """tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
"""


def test_the_version_2_tree_is_found_beside_version_1() -> None:
    assert find_mount(HYBRID) == Path("/sys/fs/cgroup/unified")


def test_without_one_the_remedy_is_named() -> None:
    with pytest.raises(PrerequisiteError, match="no cgroup v2 tree is mounted; mount one: "):
        find_mount("proc /proc proc rw 0 0\n")
