"""What becomes of a wish: whom it cannot be granted, what is awaited, and when nothing at all is looked for.

What takes namespaces of others to try is in tests/netns/test_host_opt_outs.py.
"""

import threading
from pathlib import Path

import pytest

from ebpflb.host import inotify, opt_out_watcher
from ebpflb.host.opt_out_watcher import OptOutWatcher
from ebpflb.host.opt_outs import OptOutFinder, OptOutView, Wish

UID = "2c0d8a57-3c0f-4f0e-9b0b-0e5b5a5c1d11"
POD = "pod demo/web (why)"


def test_the_nodes_own_namespace_is_never_opted_out() -> None:
    view = OptOutFinder(Path("/nowhere")).look(Wish(patterns=("/proc/self/ns/ne?",)))
    text = "--socket-opt-out /proc/self/ns/ne?: /proc/self/ns/net is the node's own network namespace: not opted out"
    assert view == OptOutView(warnings=(text,))


def test_a_pattern_that_matches_nothing_is_named() -> None:
    view = OptOutFinder(Path("/nowhere")).look(Wish(patterns=("/run/netns/no-such-*",)))
    assert view == OptOutView(warnings=("no network namespace matches --socket-opt-out /run/netns/no-such-*",))


def test_a_file_that_is_no_namespace_yet_is_awaited(tmp_path: Path) -> None:
    (tmp_path / "vm-1").touch()
    view = OptOutFinder(tmp_path).look(Wish(patterns=(f"{tmp_path}/vm-*",)))
    assert view == OptOutView(waiting=(f"{tmp_path}/vm-1",))


def test_pods_without_cgroup_or_process_are_awaited(tmp_path: Path) -> None:
    pod = tmp_path / f"kubepods/pod{UID}"
    wish = Wish({UID: POD, "other": "pod demo/other (why)"})
    finder = OptOutFinder(tmp_path)
    assert finder.look(wish) == OptOutView(waiting=("pod demo/other (why)", POD))
    assert finder.watched(wish) == {tmp_path: inotify.ENTRIES}
    pod.mkdir(parents=True)
    assert finder.look(wish) == OptOutView(waiting=("pod demo/other (why)", POD))
    assert finder.watched(wish) == {
        tmp_path: inotify.ENTRIES,
        tmp_path / "kubepods": inotify.ENTRIES,
        pod: inotify.ENTRIES,
        pod / "cgroup.events": inotify.MODIFY,
    }


def test_processes_of_another_pid_namespace_are_complained_of(tmp_path: Path) -> None:
    pod = tmp_path / f"pod{UID}"
    pod.mkdir()
    (pod / "cgroup.procs").write_text("0\n")
    (warning,) = OptOutFinder(tmp_path).look(Wish({UID: POD})).warnings
    assert POD in warning
    assert "hostPID" in warning


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("/run/netns/vm-*", "/run/netns"),
        ("/run/netns/vm-1", "/run/netns"),
        ("/run/*/vm", "/run"),
        ("/proc/[0-9]*/ns/net", "/proc"),
    ],
)
def test_patterns_are_watched_where_their_first_wildcard_is(tmp_path: Path, pattern: str, folder: str) -> None:
    assert OptOutFinder(tmp_path).watched(Wish(patterns=(pattern,))) == {Path(folder): inotify.ENTRIES}


def said(watcher: OptOutWatcher) -> OptOutView:
    """Return the first thing that a watcher says."""
    views: list[OptOutView] = []
    stop = threading.Event()

    def take(view: OptOutView) -> None:
        views.append(view)
        stop.set()

    watcher.run(take, stop)
    return views[0]


def test_an_obstacle_is_named_with_those_whom_it_concerns(tmp_path: Path) -> None:
    watcher = OptOutWatcher(tmp_path, ("/proc/self/ns/net",), "there is no kernel; get one")
    watcher.want({UID: POD})
    text = f"no effect on {POD}, /proc/self/ns/net: there is no kernel; get one"
    assert said(watcher) == OptOutView(warnings=(text,))


def test_an_obstacle_that_concerns_nobody_is_not_mentioned(tmp_path: Path) -> None:
    watcher = OptOutWatcher(tmp_path, (), "there is no kernel; get one")
    watcher.want({})
    assert said(watcher) == OptOutView()


def test_pods_that_do_not_come_are_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opt_out_watcher, "PATIENCE_S", 0.01)
    assert said(OptOutWatcher(tmp_path)) == OptOutView()
    assert "pods_unknown" in caplog.text


def test_an_early_stop_is_heard_while_pods_are_waited_for(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    OptOutWatcher(tmp_path).run(lambda _: pytest.fail("nothing was known"), stop)
