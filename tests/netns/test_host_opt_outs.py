"""Real processes in pods' cgroups and named namespaces: whose cookies are found, how soon, and whose never are."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebpflb.bench.cgroups import find_mount, remove_tree
from ebpflb.bench.namespaces import ENTER_CGROUP
from ebpflb.host import opt_out_watcher
from ebpflb.host.namespaces import in_each
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.host.opt_out_watcher import OptOutWatcher
from ebpflb.host.opt_outs import OptOutView
from tests.netns.host_helpers import PATIENCE_S, namespace

pytestmark = pytest.mark.root

UID = "2c0d8a57-3c0f-4f0e-9b0b-0e5b5a5c1d11"
POD = "pod demo/web (ebpflb.io/socket-lb)"


@pytest.fixture(autouse=True)
def _no_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look without a reason: what is seen of what has been found is what was heard."""
    monkeypatch.setattr(opt_out_watcher, "PERIOD_S", 60 * PATIENCE_S)


class Views:
    """What a watcher has said."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._views: list[OptOutView] = []

    def take(self, view: OptOutView) -> None:
        with self._news:
            self._views.append(view)
            self._news.notify_all()

    def wait(self, fits: Callable[[OptOutView], object]) -> OptOutView:
        with self._news:
            found = self._news.wait_for(lambda: self._views and fits(self._views[-1]), PATIENCE_S)
            assert found, f"not within {PATIENCE_S} s: {self._views}"
            return self._views[-1]

    def every(self) -> list[OptOutView]:
        with self._news:
            return list(self._views)


@pytest.fixture(name="cgroup")
def _cgroup() -> Iterator[Path]:
    """A cgroup that stands for the root of the tree."""
    top = find_mount() / f"ebpflb-t-{os.getpid()}-opt-outs"
    top.mkdir()
    try:
        yield top
    finally:
        remove_tree(top)


@contextmanager
def watching(watcher: OptOutWatcher) -> Iterator[Views]:
    views, stop = Views(), threading.Event()
    thread = threading.Thread(target=watcher.run, args=(views.take, stop))
    thread.start()
    try:
        yield views
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def systemd_cgroup(top: Path) -> Path:
    """Return where kubelet with systemd's driver would put the pod."""
    return top / f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"


@contextmanager
def process(cgroup: Path, *enter: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that waits for its end in a container's cgroup below a pod's."""
    container = cgroup / "cri-containerd-1.scope"
    container.mkdir(parents=True, exist_ok=True)
    command = ["/bin/sh", "-c", ENTER_CGROUP, "sh", str(container), *enter, "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def entering(path: Path) -> str:
    return f"nsenter --net={path} --"


def cookie_of(path: Path) -> int:
    cookie = next(in_each([path], netns_cookie))
    assert cookie is not None
    return cookie


@pytest.mark.parametrize("is_systemd", [True, False], ids=["systemd", "cgroupfs"])
def test_a_pods_namespace_is_found_when_its_first_process_comes_and_lost_when_it_goes(
    cgroup: Path, is_systemd: bool
) -> None:
    watcher = OptOutWatcher(cgroup)
    pod = systemd_cgroup(cgroup) if is_systemd else cgroup / f"kubepods/burstable/pod{UID}"
    with namespace("pod") as path, watching(watcher) as views:
        watcher.want({UID: POD})
        assert views.wait(lambda view: view.waiting).waiting == (POD,)
        with process(pod, *entering(path).split()):
            found = views.wait(lambda view: view.cookies)
            assert found == OptOutView(frozenset({cookie_of(path)}), (POD,))
        gone = views.wait(lambda view: not view.cookies)
        assert gone == OptOutView(waiting=(POD,))


def test_a_process_that_has_not_left_the_hosts_namespace_yet_opts_nobody_out(cgroup: Path) -> None:
    """A runtime puts its process into the cgroup first: the host must not be opted out in between."""
    watcher = OptOutWatcher(cgroup)
    watcher.want({UID: POD})
    with namespace("pod") as path, watching(watcher) as views:
        late = ["/bin/sh", "-c", f"read go; exec {entering(path)} cat"]
        with process(systemd_cgroup(cgroup), *late) as running:
            views.wait(lambda view: view.waiting)
            assert running.stdin is not None
            running.stdin.write("go\n")
            running.stdin.flush()
            views.wait(lambda view: view.cookies == {cookie_of(path)})
    own = netns_cookie()
    assert all(own not in view.cookies for view in views.every())


def test_a_sandbox_made_anew_has_another_cookie(cgroup: Path) -> None:
    watcher = OptOutWatcher(cgroup)
    watcher.want({UID: POD})
    pod = systemd_cgroup(cgroup)
    with namespace("first") as first, namespace("second") as second, watching(watcher) as views:
        with process(pod, *entering(first).split()):
            views.wait(lambda view: view.cookies == {cookie_of(first)})
        with process(pod, *entering(second).split()):
            views.wait(lambda view: view.cookies == {cookie_of(second)})


def test_a_pod_that_is_wanted_no_more_and_others_pods_are_left_to_the_hooks(cgroup: Path) -> None:
    watcher = OptOutWatcher(cgroup)
    other = cgroup / "kubepods/burstable/pod11111111-3c0f-4f0e-9b0b-0e5b5a5c1d11"
    with (
        namespace("pod") as path,
        namespace("other") as elsewhere,
        process(systemd_cgroup(cgroup), *entering(path).split()),
        process(other, *entering(elsewhere).split()),
        watching(watcher) as views,
    ):
        watcher.want({UID: POD})
        views.wait(lambda view: view.cookies == {cookie_of(path)})
        watcher.want({})
        assert views.wait(lambda view: not view.cookies) == OptOutView()
        assert cookie_of(elsewhere) not in {cookie for view in views.every() for cookie in view.cookies}


def test_named_namespaces_come_and_go(cgroup: Path) -> None:
    pattern = f"/run/netns/ebpflb-t-{os.getpid()}-vm-*"
    watcher = OptOutWatcher(cgroup, (pattern,))
    watcher.want({})
    with namespace("vm-1") as first, watching(watcher) as views:
        views.wait(lambda view: view.cookies == {cookie_of(first)})
        with namespace("vm-2") as second, namespace("pod"):
            both = views.wait(lambda view: view.cookies == {cookie_of(first), cookie_of(second)})
            assert both.opted_out == (str(first), str(second))
        views.wait(lambda view: view.opted_out == (str(first),))
