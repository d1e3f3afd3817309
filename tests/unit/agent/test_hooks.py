"""Which device gets which programs, whose clsact is ours, and what is given up at a start."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ebpflb.agent import hooks
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.hooks import ClsactRecord, Hooks
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build
from ebpflb.datapath.programs import L3_PROGRAMS, PROGRAMS, SOCKET_PROGRAMS, XDP_IN, Program, programs_of
from ebpflb.errors import BuildError, EbpflbError
from ebpflb.host.links import DeviceRole, Link, LinkHeader
from ebpflb.host.tc import TcHook, TcProgram

UPLINK = Link(3, "eth0")
POD = Link(8, "veth8", "veth")


class Kernel:
    """Stands in for tc: what is attached, and on which devices clsact was there before."""

    def __init__(self) -> None:
        self.attached: dict[Link, list[tuple[str, TcHook, Family, Path | int]]] = {}
        self.had_clsact: set[int] = set()
        self.detached: list[tuple[Link, bool]] = []
        self.refuses = False
        self.xdp: list[tuple[str, object]] = []

    def attach(
        self, device: Link, programs: Sequence[TcProgram], instance: str, on_clsact: Callable[[int], None]
    ) -> list[str]:
        assert instance == "blue"
        if device.ifindex not in self.had_clsact:
            on_clsact(device.ifindex)
        if self.refuses:
            raise EbpflbError("refused")
        wanted = [(each.name, each.hook, each.family, each.source) for each in programs]
        if self.attached.get(device) == wanted:
            return []
        self.attached[device] = wanted
        return [f"{device.name}: attached"]

    def detach(self, device: Link, instance: str, *, remove_clsact: bool) -> list[str]:
        assert instance == "blue"
        self.detached.append((device, remove_clsact))
        return [f"{device.name}: detached"]

    def list_devices(self, instance: str) -> list[Link]:
        assert instance == "blue"
        return list(self.attached)


class Xdp:
    """Stands in for the accelerator: what it was told."""

    def __init__(self, kernel: Kernel, programs: dict[Family, Path]) -> None:
        self._calls = kernel.xdp
        self._calls.append(("programs", programs))

    def attach(self, device: Link) -> None:
        self._calls.append(("attach", device))

    def release(self, device: Link) -> None:
        self._calls.append(("release", device))

    def adopt(self, is_uplink: Callable[[Link], bool]) -> None:
        self._calls.append(("adopt", [is_uplink(device) for device in (UPLINK, POD, Link(5, "renamed"))]))


@pytest.fixture(name="kernel")
def _kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    for name in ("attach", "detach", "list_devices"):
        monkeypatch.setattr(hooks, name, getattr(kernel, name))
    monkeypatch.setattr(hooks, "Accelerator", lambda _config, programs, _build: Xdp(kernel, programs))
    return kernel


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> AgentConfig:
    return AgentConfig("node-1", instance="blue", state_dir=tmp_path, uplink_devices=("eth*",), pod_devices=("veth*",))


def make_hooks(config: AgentConfig, complete: Callable[[Collection[Program]], bool] = lambda _: False) -> Hooks:
    pins = {program.stem: Path("/pins") / program.stem for program in PROGRAMS}
    build = Build("key", pins, compiled=False, seconds=0.0, instructions={}, complete=complete)
    return Hooks(config, {Family.IPV4: build})


@pytest.mark.parametrize(
    ("role", "header", "ingress", "egress"),
    [
        (DeviceRole.UPLINK, LinkHeader.ETHERNET, "lb_uplink_in", "lb_out"),
        (DeviceRole.UPLINK, LinkHeader.NONE, "lb_uplink_l3_", "lb_out_l3_"),
        (DeviceRole.POD, LinkHeader.ETHERNET, "lb_pod_in", "lb_out"),
        (DeviceRole.POD, LinkHeader.NONE, "lb_pod_l3_", "lb_out_l3_"),
    ],
)
def test_role_and_link_header_decide_what_a_device_gets(
    *, kernel: Kernel, config: AgentConfig, role: DeviceRole, header: LinkHeader, ingress: str, egress: str
) -> None:
    device = Link(8, "veth8", header=header)
    make_hooks(config).attach_device(role, device)
    assert kernel.attached[device] == [
        (f"{ingress}4", TcHook.INGRESS, Family.IPV4, Path("/pins") / ingress),
        (f"{egress}4", TcHook.EGRESS, Family.IPV4, Path("/pins") / egress),
    ]


@pytest.mark.parametrize("header", [LinkHeader.ETHERNET, LinkHeader.NONE])
def test_programs_without_an_ethernet_header_are_built_before_the_first_device_that_needs_them(
    *, kernel: Kernel, config: AgentConfig, header: LinkHeader
) -> None:
    device, calls = Link(8, "veth8", header=header), []

    def complete(programs: Collection[Program]) -> bool:
        assert not kernel.attached
        calls.append(programs)
        return True

    make_hooks(config, complete).attach_device(DeviceRole.POD, device)
    assert calls == ([L3_PROGRAMS] if header is LinkHeader.NONE else [])
    assert list(kernel.attached) == [device]


def test_a_device_whose_programs_cannot_be_built_is_left_alone(kernel: Kernel, config: AgentConfig) -> None:
    def fail(_programs: Collection[Program]) -> bool:
        raise BuildError("no such helper")

    hooks = make_hooks(config, fail)
    with pytest.raises(BuildError, match="no such helper"):
        hooks.attach_device(DeviceRole.POD, Link(9, "wg0", header=LinkHeader.NONE))
    hooks.attach_device(DeviceRole.POD, POD)
    assert list(kernel.attached) == [POD]


def test_xdp_serves_uplinks_only(kernel: Kernel, config: AgentConfig) -> None:
    one = make_hooks(config)
    for role, device in ((DeviceRole.UPLINK, UPLINK), (DeviceRole.POD, POD)):
        one.attach_device(role, device)
        one.detach_device(role, device)
    one.detach_strays()
    assert kernel.xdp == [
        ("programs", {Family.IPV4: Path("/pins/lb_xdp_in")}),
        ("attach", UPLINK),
        ("release", UPLINK),
        ("adopt", [True, False, False]),
    ]


def test_xdp_waits_for_the_filters(kernel: Kernel, config: AgentConfig) -> None:
    kernel.refuses = True
    with pytest.raises(EbpflbError, match="refused"):
        make_hooks(config).attach_device(DeviceRole.UPLINK, UPLINK)
    assert ("attach", UPLINK) not in kernel.xdp


def test_only_a_clsact_of_ours_is_removed(kernel: Kernel, config: AgentConfig) -> None:
    kernel.had_clsact.add(UPLINK.ifindex)
    one = make_hooks(config)
    one.attach_device(DeviceRole.UPLINK, UPLINK)
    one.attach_device(DeviceRole.POD, POD)
    another = make_hooks(config)  # after a restart
    another.detach_device(DeviceRole.UPLINK, UPLINK)
    another.detach_device(DeviceRole.POD, POD)
    another.detach_device(DeviceRole.POD, POD)
    assert kernel.detached == [(UPLINK, False), (POD, True), (POD, False)]


def test_a_clsact_is_noted_though_the_filters_are_refused(kernel: Kernel, config: AgentConfig) -> None:
    kernel.refuses = True
    with pytest.raises(EbpflbError, match="refused"):
        make_hooks(config).attach_device(DeviceRole.POD, POD)
    make_hooks(config).detach_device(DeviceRole.POD, POD)
    assert kernel.detached == [(POD, True)]


def test_what_others_took_away_is_attached_again_and_counted(
    kernel: Kernel, config: AgentConfig, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = make_hooks(config)
    for _ in range(2):
        hooks.attach_device(DeviceRole.POD, POD)
    assert hooks.repairs == 0
    kernel.attached.clear()
    hooks.attach_device(DeviceRole.POD, POD)
    assert hooks.repairs == 1
    assert "device_hook_repaired device=veth8 changes=1 repairs=1" in caplog.messages
    hooks.detach_device(DeviceRole.POD, POD)
    kernel.attached.clear()
    hooks.attach_device(DeviceRole.POD, POD)
    assert hooks.repairs == 1


def test_a_state_folder_that_cannot_be_written_has_a_remedy(config: AgentConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    record = ClsactRecord(tmp_path / "file" / "blue.clsact")
    for action in (record.indexes, lambda: record.add(3), lambda: record.discard(3)):
        with pytest.raises(EbpflbError, match=r"blue\.clsact cannot be read .*--state-dir"):
            action()
    (tmp_path / "blue.clsact.new").mkdir()
    with pytest.raises(EbpflbError, match=r"blue\.clsact cannot be written .*--state-dir"):
        ClsactRecord(tmp_path / "blue.clsact").add(3)


def test_a_renamed_device_keeps_its_record(kernel: Kernel, config: AgentConfig) -> None:
    one = make_hooks(config)
    one.attach_device(DeviceRole.POD, POD)
    renamed = Link(POD.ifindex, "other", "veth")
    one.detach_device(DeviceRole.POD, renamed)
    one.detach_device(DeviceRole.POD, Link(99, POD.name, "veth"))
    assert kernel.detached == [(renamed, True), (Link(99, POD.name, "veth"), False)]


def test_devices_that_no_pattern_names_are_given_up_at_the_start(kernel: Kernel, config: AgentConfig) -> None:
    one = make_hooks(config)
    strays = [Link(5, "renamed"), Link(11, "cali11"), Link(12, "eth1", port_of="bond")]
    for device in (UPLINK, POD, *strays):
        one.attach_device(DeviceRole.POD, device)
    make_hooks(config).detach_strays()
    assert kernel.detached == [(device, True) for device in strays]
    assert ClsactRecord(config.clsact_path).indexes() == {UPLINK.ifindex, POD.ifindex}


def test_without_a_cgroup_the_socket_programs_are_taken_off(
    config: AgentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], Path]] = []

    def detach_cgroup(names: Iterable[str], links: Path) -> list[str]:
        calls.append((sorted(names), links))
        return []

    monkeypatch.setattr(hooks, "detach_cgroup", detach_cgroup)
    make_hooks(config).attach_sockets()
    assert calls == [(_socket_programs(family), config.pins.links(family)) for family in Family]


def test_a_family_that_is_not_built_loses_its_socket_programs(
    config: AgentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[tuple[list[str], Path]] = []
    detached: list[tuple[list[str], Path]] = []

    def note_attached(programs: Mapping[str, Path], _: Path, links: Path) -> list[str]:
        attached.append((sorted(programs), links))
        return []

    def note_detached(names: Iterable[str], links: Path) -> list[str]:
        detached.append((sorted(names), links))
        return []

    monkeypatch.setattr(hooks, "attach_cgroup", note_attached)
    monkeypatch.setattr(hooks, "detach_cgroup", note_detached)
    make_hooks(replace(config, cgroup=tmp_path)).attach_sockets()
    assert attached == [(_socket_programs(Family.IPV4), config.pins.links(Family.IPV4))]
    assert detached == [(_socket_programs(Family.IPV6), config.pins.links(Family.IPV6))]


def _socket_programs(family: Family) -> list[str]:
    return sorted(program.name(family) for program in programs_of(family, SOCKET_PROGRAMS))


def test_the_record_lives_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "blue.clsact"
    assert ClsactRecord(path).indexes() == set()
    ClsactRecord(path).discard(4)
    assert not path.exists()
    for ifindex in (12, 4, 12):
        ClsactRecord(path).add(ifindex)
    assert path.read_text() == "4\n12\n"
    ClsactRecord(path).discard(4)
    assert ClsactRecord(path).indexes() == {12}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_record_that_somebody_else_wrote_is_no_reason_to_fail(tmp_path: Path) -> None:
    path = tmp_path / "blue.clsact"
    path.write_text("eth0\n7\n")
    assert ClsactRecord(path).indexes() == {7}


def test_what_was_left_for_later_is_built_for_all_families_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=60)

    def complete(programs: Collection[Program]) -> bool:
        together.wait()
        return programs == (XDP_IN,)

    builds = {
        family: Build("key", {}, compiled=True, seconds=0.0, instructions={}, complete=complete) for family in Family
    }
    hooks.complete_builds(builds, (XDP_IN,))
    assert not together.broken


def test_what_cannot_be_built_later_is_the_callers_to_tell() -> None:
    def fail(_programs: Collection[Program]) -> bool:
        raise BuildError("no such helper")

    with pytest.raises(BuildError, match="no such helper"):
        hooks.complete_builds(
            {Family.IPV4: Build("key", {}, compiled=True, seconds=0.0, instructions={}, complete=fail)}, L3_PROGRAMS
        )
