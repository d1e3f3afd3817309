"""The order in which an agent starts and ends; its parts are stood in for."""

import gc
import logging
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebpflb.agent import run
from ebpflb.agent.cluster import make_source, reach_cluster
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.together import TURN_S, run_together, settle
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build
from ebpflb.errors import BuildError, EbpflbError, PrerequisiteError, UsageError
from ebpflb.files.folder import FolderSource
from ebpflb.host.lock import InstanceLock, holder_of
from ebpflb.reconcile.status import Status, StatusFile

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = Status("node-1", NOW, (), "", {"Service": 3}, (), (), None)


def waits_for_its_end(stop: threading.Event) -> None:
    stop.wait()


def test_the_end_of_one_part_ends_all() -> None:
    stop = threading.Event()
    ended: list[str] = []

    def waits(end: threading.Event) -> None:
        end.wait()
        ended.append("waiting")

    run_together(stop, {"waiting": waits, "over": lambda _: ended.append("over")})
    assert ended == ["over", "waiting"]
    assert stop.is_set()


def test_what_a_part_raises_reaches_the_caller_when_all_have_ended() -> None:
    ended = threading.Event()

    def waits(end: threading.Event) -> None:
        end.wait()
        ended.set()

    def breaks(_: threading.Event) -> None:
        raise EbpflbError("the device is gone")

    with pytest.raises(EbpflbError, match="the device is gone"):
        run_together(threading.Event(), {"waiting": waits, "breaking": breaks})
    assert ended.is_set()


def test_a_stop_before_the_start_ends_at_once() -> None:
    stop = threading.Event()
    stop.set()
    run_together(stop, {"one": waits_for_its_end})


def test_an_agent_that_has_started_takes_short_turns() -> None:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    try:
        settle()
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def test_ready_is_said_once_when_the_first_snapshot_is_in_the_maps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = StatusFile(tmp_path / "blue.status.json")
    ready: list[bool] = []
    report = run._StatusReport(file, lambda: ready.append(True))
    with caplog.at_level(logging.INFO):
        report(STATUS)
        assert (caplog.messages, ready) == ([], [])
        for _ in range(2):
            report(replace(STATUS, last_change_applied_at=NOW))
    assert (caplog.messages, ready) == (["ready node=node-1 services=3"], [True])
    assert file.read().last_change_applied_at == NOW


def test_builds_of_other_versions_and_families_that_are_not_served_are_removed(tmp_path: Path) -> None:
    config = AgentConfig("node-1", bpffs=tmp_path, instance="blue")
    config.pins.create_folders(Family.IPV4)
    config.pins.create_folders(Family.IPV6)
    (config.pins.maps(Family.IPV6) / "flows").touch()
    for key in ("ours", "older", "ours-staging"):
        folder = config.pins.progs(Family.IPV4) / key
        folder.mkdir()
        (folder / "lb_out4").touch()
    run.remove_other_builds(config, {Family.IPV4: Build("ours", {}, compiled=True, seconds=0.0, instructions={})})
    assert [path.name for path in config.pins.progs(Family.IPV4).iterdir()] == ["ours"]
    assert (config.pins.progs(Family.IPV4) / "ours" / "lb_out4").exists()
    assert not config.pins.family(Family.IPV6).exists()


def test_the_configuration_chooses_the_source(tmp_path: Path) -> None:
    assert isinstance(make_source(AgentConfig("node-1", manifests=tmp_path)), FolderSource)
    with pytest.raises(UsageError, match="does not exist"):
        make_source(AgentConfig("node-1", manifests=tmp_path / "missing"))
    (tmp_path / "config").write_text("words")
    with pytest.raises(UsageError, match="is not a kubeconfig"):
        make_source(AgentConfig("node-1", kubeconfig=tmp_path / "config"))


def test_a_cluster_that_cannot_be_used_is_no_failure_of_who_was_told_to_end(tmp_path: Path) -> None:
    config, stop = AgentConfig("node-1", manifests=tmp_path / "missing"), threading.Event()
    with pytest.raises(UsageError, match="does not exist"):
        reach_cluster(config, stop)
    stop.set()
    assert reach_cluster(config, stop) is None


def test_a_compiler_that_was_ended_with_the_agent_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    tried: list[Family] = []

    def fail(_: AgentConfig, family: Family, __: int) -> Build:
        tried.append(family)
        threading.Timer(0.01, stop.set).start()
        raise BuildError("killed by signal 15")

    monkeypatch.setattr(run, "_build", fail)
    monkeypatch.setattr(run, "_SIGNAL_SECONDS", 60.0)
    assert run.build_unless_stopped(AgentConfig("node-1"), 250, stop) == {}
    assert sorted(tried) == [Family.IPV4, Family.IPV6]


def test_the_families_are_built_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=60)

    def build(_: AgentConfig, family: Family, __: int) -> Build:
        together.wait()
        return Build(family.name, {}, compiled=True, seconds=0.0, instructions={})

    monkeypatch.setattr(run, "_build", build)
    builds = run.build_unless_stopped(AgentConfig("node-1"), 250, threading.Event())
    assert {family: built.key for family, built in builds.items()} == {Family.IPV4: "IPV4", Family.IPV6: "IPV6"}


def test_a_compiler_that_fails_of_itself_ends_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Build:
        raise BuildError("no such type")

    monkeypatch.setattr(run, "_build", fail)
    with pytest.raises(BuildError, match="no such type"):
        run.build_unless_stopped(AgentConfig("node-1"), 250, threading.Event())


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentConfig:
    """An agent that must fail before it builds."""

    def never(*_: object) -> None:
        raise AssertionError("it went on to build")

    monkeypatch.setattr(run, "ensure_bpffs", lambda _: False)
    monkeypatch.setattr(run, "build_unless_stopped", never)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "bpf").mkdir()
    return AgentConfig(
        "node-1", manifests=tmp_path / "manifests", bpffs=tmp_path / "bpf", instance="blue", state_dir=tmp_path / "run"
    )


def test_a_wrong_cgroup_is_found_before_anything_is_built(config: AgentConfig, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="is not a folder of a cgroup v2 tree"):
        run.run_agent(replace(config, cgroup=tmp_path), threading.Event())
    assert holder_of(config.pins.root) is None
    assert not config.pins.root.parent.exists()


def test_a_predecessors_status_is_not_taken_for_ours(config: AgentConfig) -> None:
    StatusFile(config.status_path).write(STATUS)
    with pytest.raises(UsageError):
        run.run_agent(replace(config, manifests=Path("missing")), threading.Event())
    assert not config.status_path.exists()


def test_a_state_folder_that_is_none_is_named(config: AgentConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match=r"--state-dir .*/file: .*name a folder"):
        run.run_agent(replace(config, state_dir=tmp_path / "file"), threading.Event())


def test_a_second_agent_leaves_the_first_ones_status_alone(config: AgentConfig) -> None:
    StatusFile(config.status_path).write(STATUS)
    with InstanceLock("blue", config.pins.root), pytest.raises(EbpflbError, match="another agent runs it"):
        run.run_agent(config, threading.Event())
    assert StatusFile(config.status_path).read() == STATUS
