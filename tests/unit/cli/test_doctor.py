import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ebpflb.cli import doctor, main
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build, BuildSpec
from ebpflb.errors import BuildError, PrerequisiteError
from ebpflb.host.finding import Finding, Level

FINE = Finding("kernel", Level.OK, "Linux 6.1")
LOSS = Finding("bpf jit", Level.WARNING, "slow", "switch it on")
OBSTACLE = Finding("bpffs", Level.ERROR, "not mounted", "mount it")


def diagnose(monkeypatch: pytest.MonkeyPatch, findings: list[Finding], *arguments: str) -> Result:
    monkeypatch.setattr(doctor, "run_probes", lambda _cgroup, _bpffs, _uplinks: findings)
    monkeypatch.setattr(doctor, "probe_xdp", lambda _uplinks: [])
    monkeypatch.setattr(doctor, "bcc_version", lambda: "0.26.0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return CliRunner().invoke(main, ["doctor", *arguments])


def test_findings_with_their_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    result = diagnose(monkeypatch, [FINE, LOSS])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "✓ kernel: Linux 6.1",
        "! bpf jit: slow",
        "  -> switch it on",
        "✓ bcc: 0.26.0",
        "! trial build: not tried: it needs root",
        "  -> run doctor as root",
    ]


def test_an_obstacle_is_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    result = diagnose(monkeypatch, [OBSTACLE], "-o", "json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["findings"][0] == {
        "name": "bpffs",
        "level": "error",
        "detail": "not mounted",
        "remedy": "mount it",
    }


def test_uplinks_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run_probes(_cgroup: Path | None, _bpffs: Path, uplinks: tuple[str, ...]) -> list[Finding]:
        asked.append(uplinks)
        return [FINE]

    def probe_xdp(uplinks: tuple[str, ...]) -> list[Finding]:
        asked.append(uplinks)
        return [Finding("xdp eth0", Level.OK, "native mode works")]

    diagnose(monkeypatch, [])
    monkeypatch.setattr(doctor, "run_probes", run_probes)
    monkeypatch.setattr(doctor, "probe_xdp", probe_xdp)
    result = CliRunner().invoke(main, ["doctor", "--uplink-devices", "eth*, flannel.*"])
    assert result.exit_code == 0
    assert asked == [("eth*", "flannel.*")] * 2
    assert "✓ xdp eth0: native mode works" in result.stdout.splitlines()


def test_bcc_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise PrerequisiteError("bcc is not installed", remedy="install it")

    monkeypatch.setattr(doctor, "bcc_version", absent)
    assert doctor.check_bcc() == Finding("bcc", Level.ERROR, "bcc is not installed", "install it")


@pytest.fixture(name="clockless")
def _clockless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "measure_hz", lambda: 250)
    monkeypatch.setattr(doctor, "probe_feature", lambda _feature: FINE)


def test_a_build_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clockless: None) -> None:
    def fail(spec: BuildSpec) -> Build:
        raise BuildError(f"no programs for {spec.hz}")

    monkeypatch.setattr(doctor, "build_programs", fail)
    found = doctor.check_build(Family.IPV6, tmp_path)
    assert found == Finding("trial build IPV6", Level.ERROR, "no programs for 250", "report this text")


def test_a_build_that_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clockless: None) -> None:
    specs: list[BuildSpec] = []

    def build(spec: BuildSpec) -> Build:
        specs.append(spec)
        return Build("key", {}, compiled=True, seconds=1.0, instructions={"lb_out": 40, "lb_pod_in": 90})

    monkeypatch.setattr(doctor, "build_programs", build)
    found = doctor.check_build(Family.IPV4, tmp_path)
    assert found == Finding("trial build IPV4", Level.OK, "2 programs, largest 90 instructions")
    assert specs[0].maps.is_relative_to(tmp_path)
    assert specs[0].have_set_retval
