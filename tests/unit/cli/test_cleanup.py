import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ebpflb.agent.config import clsact_path, status_path
from ebpflb.cli import cleanup, main
from ebpflb.core.abi import Family
from ebpflb.host.links import Link
from ebpflb.host.lock import InstanceLock
from ebpflb.host.tc import Attached, TcHook


class Filters:
    """What tc would show, in place of the kernel."""

    def __init__(self) -> None:
        self.attached: list[Attached] = []
        self.detached: list[tuple[str, bool]] = []

    def list_ours(self, instance: str | None = None) -> list[Attached]:
        return [each for each in self.attached if instance in {None, each.instance}]

    def detach(self, device: Link, instance: str, *, remove_clsact: bool) -> list[str]:
        gone = [each for each in self.attached if (each.device, each.instance) == (device.name, instance)]
        self.attached = [each for each in self.attached if each not in gone]
        self.detached.append((device.name, remove_clsact))
        return [f"{each.device}: detached {each.program} from {each.hook}" for each in gone]


@pytest.fixture(name="filters")
def _filters(monkeypatch: pytest.MonkeyPatch) -> Filters:
    filters = Filters()
    monkeypatch.setattr(cleanup, "list_ours", filters.list_ours)
    monkeypatch.setattr(cleanup, "detach", filters.detach)
    monkeypatch.setattr(cleanup, "if_nameindex", lambda: [(1, "lo"), (7, "eth7"), (9, "bare9")])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return filters


def attached(instance: str) -> Attached:
    return Attached(7, "eth7", TcHook.EGRESS, Family.IPV4, instance, "lb_out4", 12)


def clean(folder: Path, *arguments: str) -> Result:
    flags = ["--bpffs", str(folder / "bpf"), "--state-dir", str(folder / "run")]
    return CliRunner().invoke(main, ["cleanup", *flags, *arguments])


def leave(folder: Path, instance: str) -> Path:
    """Leave the traces of an agent, with files for pins."""
    pin = folder / "bpf/ebpflb" / instance / "v1/ipv4/maps/flows"
    pin.parent.mkdir(parents=True)
    pin.touch()
    (folder / "run").mkdir(exist_ok=True)
    status_path(folder / "run", instance).write_text("{}")
    clsact_path(folder / "run", instance).write_text("9\n77\n")
    return pin


def test_nothing_leaves_nothing(tmp_path: Path, filters: Filters) -> None:
    result = clean(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "nothing to remove\n")
    assert list(tmp_path.iterdir()) == []


def test_removes_all_of_an_instance_and_says_so(tmp_path: Path, filters: Filters) -> None:
    pin = leave(tmp_path, "default")
    other = leave(tmp_path, "other")
    filters.attached = [attached("default"), attached("other")]
    result = clean(tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "removed tc eth7: detached lb_out4 from egress",
        f"removed file {status_path(tmp_path / 'run', 'default')}",
        f"removed file {clsact_path(tmp_path / 'run', 'default')}",
        f"removed pin {pin}",
    ]
    assert other.exists()
    assert filters.attached == [attached("other")]
    assert clean(tmp_path).stdout == "nothing to remove\n"


def test_only_clsact_that_the_agent_made_may_go(tmp_path: Path, filters: Filters) -> None:
    leave(tmp_path, "default")
    filters.attached = [attached("default")]
    clean(tmp_path)
    assert filters.detached == [("eth7", False), ("bare9", True)]


def test_all_instances(tmp_path: Path, filters: Filters) -> None:
    pin = leave(tmp_path, "blue")
    filters.attached = [attached("green")]
    (tmp_path / "run" / "red.status.json").touch()
    lines = clean(tmp_path, "--all").stdout.splitlines()
    assert f"removed pin {pin}" in lines
    assert "removed tc eth7: detached lb_out4 from egress" in lines
    assert f"removed file {tmp_path / 'run/red.status.json'}" in lines
    assert clean(tmp_path, "--all").stdout == "nothing to remove\n"


@pytest.mark.parametrize("arguments", [["--instance", "busy"], ["--all"]])
def test_refuses_while_an_agent_runs(tmp_path: Path, filters: Filters, arguments: list[str]) -> None:
    pins = [leave(tmp_path, "busy"), leave(tmp_path, "able")]
    with InstanceLock("busy", tmp_path / "bpf/ebpflb/busy"):
        results = [clean(tmp_path, *arguments), clean(tmp_path, *arguments, "--state-dir", str(tmp_path / "other"))]
    process = os.getpid()
    for result in results:
        assert result.exit_code == 4
        assert result.stderr == (
            f"ebpflb: instance busy: another agent runs it, process {process}; stop it (kill {process}), or name "
            "another --instance\n"
        )
    assert all(pin.exists() for pin in pins)


def test_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(main, ["cleanup"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)


def test_xdp_programs_are_taken_off_by_their_links(
    tmp_path: Path, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detach_xdp(device: str, pin: Path) -> list[str]:
        pin.unlink()
        return [f"{device}: detached program 5"]

    leave(tmp_path, "default")
    links = tmp_path / "bpf/ebpflb/default/xdp/links"
    links.mkdir(parents=True)
    for ifindex in ("7", "55"):
        (links / ifindex).touch()
    monkeypatch.setattr(cleanup, "detach_xdp", detach_xdp)
    lines = clean(tmp_path).stdout.splitlines()
    assert lines[:2] == ["removed xdp device 55: detached program 5", "removed xdp eth7: detached program 5"]
    assert not links.exists()
