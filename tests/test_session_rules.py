"""The rules of conftest.py, tried on sessions of their own: each runs pytest on a small file elsewhere."""

import ast
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflb.bench.cgroups import find_mount
from tests.conftest import is_allowed_skip
from tests.residue import Residue, leftovers, verdict_on

REPOSITORY = Path(__file__).parents[1]


def run_session(folder: Path, text: str, *flags: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    (folder / "test_inner.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = root: as in pyproject\n", encoding="utf-8")
    command = [
        *(*before, sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"),
        *(*flags, str(folder)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("reason", "allowed"),
    [
        ("needs root: euid is 1000", True),
        ("needs root: euid is 0", False),
        ("needs root: euid is 1000, and a full moon", False),
        ("needs a real API server: EBPFLB_TEST_KUBECONFIG is not set", True),
        ("needs CONFIG_INET_DIAG_DESTROY: this kernel refuses to destroy sockets", True),
        ("needs Linux 6.3: this kernel does not tell what XDP can do with a device", True),
        ("needs the kernel's configuration: /proc/config.gz and /boot/config-6.1.0 are not there", True),
        ("flaky", False),
    ],
)
def test_only_known_reasons_skip(reason: str, allowed: bool) -> None:
    assert is_allowed_skip(reason) is allowed


def reasons_in(source: Path) -> list[str]:
    """Return the reasons of ``pytest.skip`` that a file spells out."""
    calls = [each for each in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)]
    skips = [call for call in calls if ast.unparse(call.func) == "pytest.skip"]
    return [str(call.args[0].value) for call in skips if isinstance(call.args[0], ast.Constant)]


def test_every_reason_to_skip_is_a_known_one() -> None:
    """Or it would fail the session on a kernel that no developer has, and only there."""
    folder = Path(__file__).parent
    found = {reason: path.name for path in folder.rglob("*.py") for reason in reasons_in(path)}
    assert found
    assert not {reason: name for reason, name in found.items() if not is_allowed_skip(reason)}


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test_one(): pytest.skip('not today')\n",
        "import pytest\n@pytest.mark.skip(reason='not today')\ndef test_one(): pass\n",
        "import pytest\npytest.skip('not today', allow_module_level=True)\n",
    ],
)
def test_an_unexpected_skip_fails_the_session(tmp_path: Path, text: str) -> None:
    done = run_session(tmp_path, text)
    assert done.returncode == 1
    assert "unexpected skips" in done.stdout
    assert "not today" in done.stdout


def test_an_expected_skip_and_an_expected_failure_pass(tmp_path: Path) -> None:
    text = (
        "import pytest\n"
        "def test_one(): pytest.skip('needs a real API server: EBPFLB_TEST_KUBECONFIG is not set')\n"
        "@pytest.mark.xfail\ndef test_two(): assert False\n"
        "def test_three(): pass\n"
    )
    assert run_session(tmp_path, text).returncode == 0


def test_root_tests_are_skipped_without_root(tmp_path: Path) -> None:
    text = "import os, pytest\nos.geteuid = lambda: 1000\n@pytest.mark.root\ndef test_one(): assert False\n"
    done = run_session(tmp_path, text, "-rs")
    assert done.returncode == 0, done.stdout
    assert "needs root: euid is 1000" in done.stdout


def test_leftovers_name_what_is_new_only() -> None:
    before = Residue(namespaces=frozenset({"ebpflb-old"}), links=frozenset({"pod1"}))
    after = Residue(namespaces=frozenset({"ebpflb-old", "ebpflb-new"}), pins=frozenset({"/sys/fs/bpf/ebpflb"}))
    assert leftovers(before, after) == [("namespaces", "ebpflb-new"), ("pins", "/sys/fs/bpf/ebpflb")]
    assert leftovers(before, before) == []


def test_another_session_is_left_what_it_may_own_by_name() -> None:
    own = {"namespaces: ebpflb-routed-12-1-client", "processes: 99 (agent)"}
    after = Residue(
        namespaces=frozenset({"ebpflb-routed-12-1-client", "ebpflb-routed-123-1-client"}),
        programs=frozenset({"lb_out4 (id 12)"}),
        processes=frozenset({"99 (agent)"}),
    )
    shared = verdict_on(Residue(), after, "12", alone=False)
    assert set(shared.ours) == own
    assert set(shared.others) == {"namespaces: ebpflb-routed-123-1-client", "programs: lb_out4 (id 12)"}
    alone = verdict_on(Residue(), after, "12", alone=True)
    assert set(alone.ours) == own | set(shared.others)
    assert alone.others == ()


IMPATIENT = """
import os, subprocess, sys, pytest
from tests import residue
residue.SESSION_LOCK = residue.Path({lock!r})
residue.wait_until_clean.__defaults__ = (0.0,)
"""
"""An inner session's own lock: that of the outer one would be found taken. Neither has ten seconds to wait."""
LEAVE = """
@pytest.mark.root
def test_one():
    for command in {commands!r}:
        subprocess.run(command.split(), check=True)
"""
LEAVE_A_PROCESS = """
left = []
@pytest.mark.root
def test_one():
    left.append(subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE))
"""
LEAVE_A_PROGRAM = """
from ebpflb.host import syscalls
from tests.netns.host_helpers import pass_all_program
left = []
@pytest.mark.root
def test_one():
    left.append(pass_all_program("lb_left4"))
    left[0].__enter__()
"""
LEAVE_A_FILTER = """
import socket
from ebpflb.core.abi import Family
from ebpflb.host.links import Link
from ebpflb.host.tc import TcHook, TcProgram, attach
from tests.netns.host_helpers import pass_all_program, run
@pytest.mark.root
def test_one():
    run("ip", "link", "add", "elsewhere", "type", "veth")
    index = socket.if_nametoindex("elsewhere")
    with pass_all_program("pass") as program:
        attach(Link(index, "elsewhere", "veth"), [TcProgram("lb_out4", TcHook.EGRESS, Family.IPV4, program)], "left")
"""


def impatient(folder: Path, text: str) -> str:
    return IMPATIENT.format(lock=str(folder / "lock")) + text


def assert_left_behind(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout
    assert "left behind:" in done.stdout
    for word in words:
        assert word in done.stdout


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "leave", "tidy"),
    [
        ("namespaces", "ip netns add {name}", "ip netns del {name}"),
        ("pins", "mkdir /sys/fs/bpf/{name}", "rmdir /sys/fs/bpf/{name}"),
        ("cgroups", "mkdir {cgroups}/{name}", "rmdir {cgroups}/{name}"),
    ],
)
def test_a_session_that_leaves_a_name_fails(tmp_path: Path, kind: str, leave: str, tidy: str) -> None:
    name = f"ebpflb-left{os.getpid()}"
    leave, tidy = (command.format(name=name, cgroups=find_mount()) for command in (leave, tidy))
    try:
        done = run_session(tmp_path, impatient(tmp_path, LEAVE.format(commands=[leave])))
    finally:
        subprocess.run(tidy.split(), check=True)
    assert_left_behind(done, f"{kind}: ", name)


@pytest.mark.root
@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(LEAVE_A_PROCESS, "sys.stdin.read()", id="process"),
        pytest.param(LEAVE_A_PROGRAM, "programs: lb_left4 (id ", id="program"),
        pytest.param(LEAVE_A_FILTER, "filters: ebpflb/left/lb_out4 on elsewhere egress", id="filter"),
        pytest.param(LEAVE_A_FILTER, "qdiscs: clsact on elsewhere", id="qdisc"),
        pytest.param(LEAVE.format(commands=["ip link add pod1 type veth"]), "links: pod1", id="link"),
    ],
)
def test_a_session_that_leaves_something_fails(tmp_path: Path, text: str, line: str) -> None:
    """In a network namespace of its own, which goes with it: the machine's devices are not a test's to touch."""
    assert_left_behind(run_session(tmp_path, impatient(tmp_path, text), before=("unshare", "--net")), line)


@pytest.mark.root
def test_what_others_do_on_the_machine_is_not_ours(tmp_path: Path) -> None:
    """A login, a container, a timer: all of it comes up while the tests run."""
    name = f"session-{os.getpid()}.scope"
    cgroup, namespace = find_mount() / name, f"cni-{os.getpid()}"
    commands = [
        *("ip link add veth7 type veth peer name ens9", "tc qdisc add dev ens9 root pfifo"),
        *(f"mkdir {cgroup}", f"mkdir /sys/fs/bpf/{cgroup.stem}", f"ip netns add {namespace}"),
    ]
    try:
        text = impatient(tmp_path, LEAVE.format(commands=commands))
        done = run_session(tmp_path, text, before=("unshare", "--net"))
    finally:
        # Each by itself: what is missing must not keep the others here.
        for tidy in (f"rmdir {cgroup}", f"rmdir /sys/fs/bpf/{cgroup.stem}", f"ip netns del {namespace}"):
            subprocess.run(tidy.split(), check=False)
    assert "1 passed" in done.stdout
    for foreign in ("ens9", "veth7", cgroup.stem, namespace):
        assert foreign not in done.stdout


@pytest.mark.root
def test_what_another_session_may_own_is_named(tmp_path: Path) -> None:
    text = impatient(tmp_path, LEAVE.format(commands=["ip link add pod1 type veth"]))
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        done = run_session(tmp_path, text, before=("unshare", "--net"))
    assert done.returncode == 0, done.stdout
    assert "another session lives, and may own it" in done.stdout
    assert "links: pod1" in done.stdout
