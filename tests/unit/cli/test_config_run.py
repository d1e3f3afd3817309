"""``ebpflb run`` with kube-proxy's command lines and files, up to the agent's configuration."""

import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.agent import AgentConfig
from ebpflb.agent.restart import RestartError
from ebpflb.cli import config_agent, main, run, run_node
from ebpflb.cli.config_load import load_config, log_remarks
from ebpflb.core.options import DetectLocal, Options
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.expiry import Timeouts
from ebpflb.errors import UsageError
from ebpflb.host.sysctl import ConntrackSettings
from ebpflb.reconcile import garbage
from tests.unit.core.proxy_config_documents import KIND, KUBEADM

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


class World:
    """A machine on which nothing runs but the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents: list[AgentConfig] = []
        self.prepared: list[AgentConfig] = []
        self.logging: dict[str, object] = {}
        self.error: Exception | None = None
        (folder / "manifests").mkdir()

    def run_agent(self, config: AgentConfig, stop: threading.Event) -> None:
        assert not stop.is_set()
        self.agents.append(config)
        if self.error is not None:
            raise self.error

    def prepare(self, config: AgentConfig, stop: threading.Event) -> None:
        assert not stop.is_set()
        self.prepared.append(config)

    def write(self, text: str, name: str = "config.conf") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def __call__(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(main, ["run", *map(str, arguments)])

    def start(self, *arguments: str | Path) -> AgentConfig:
        """Start with a source; return what the agent gets."""
        result = self("--manifests", self.folder / "manifests", *arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return self.agents[-1]


@pytest.fixture(name="world")
def _world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(run_node, "run_agent", world.run_agent)
    monkeypatch.setattr(garbage, "tune", lambda: None)
    monkeypatch.setattr(run_node, "prepare_node", world.prepare)
    monkeypatch.setattr(run, "_TOKEN", tmp_path / "no-token")
    monkeypatch.setattr(run_node, "set_up_logging", lambda **values: world.logging.update(values))
    monkeypatch.setattr(config_agent, "cgroup2_mounts", lambda _: [Path("/cgroup-root")])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(socket, "gethostname", lambda: "Node-1")
    caplog.set_level(logging.INFO)
    return world


def test_kubeadms_command_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    path = world.write(KUBEADM)
    result = world("--config", path, "--hostname-override=Worker-1", "--v=2")
    assert (result.exit_code, result.stderr) == (0, "")
    (config,) = world.agents
    assert config == AgentConfig(
        node_name="worker-1",
        kubeconfig=Path("/var/lib/kube-proxy/kubeconfig.conf"),
        cgroup=Path("/cgroup-root"),
        options=Options(cluster_cidrs=("10.244.0.0/16",)),
        conntrack=ConntrackSettings(maximum=262_144, tcp_established_s=86_400, tcp_close_wait_s=3_600),
        oom_score_adj=-999,
        config_file=path,
        config_bytes=path.read_bytes(),
        config_text=config.config_text,
    )
    assert json.loads(config.config_text)["clusterCIDR"] == "10.244.0.0/16"
    (line,) = caplog.messages
    assert line.startswith("config_field field=logging.verbosity value=2 use=mapped reason='from 4 on, debug records")


def test_kinds_file(world: World) -> None:
    assert world("--config", world.write(KIND)).exit_code == 0
    (config,) = world.agents
    assert config.options == Options(cluster_cidrs=("fd00:10:244::/56",), node_port_addresses=("primary",))
    assert (config.healthz_bind_address, config.metrics_bind_address) == ("[::]:10256", "[::1]:10249")
    assert config.conntrack.maximum is None


def test_flags_of_an_old_daemon_set(world: World) -> None:
    config = world.start(
        *("--cluster-cidr=10.0.0.0/8", "--masquerade-all=true", "--proxy-mode=iptables", "--bind-address=192.0.2.1"),
        *(
            "--iptables-sync-period=1m",
            "--iptables-min-sync-period=0s",
            "--oom-score-adj=-500",
            "--logging-format=json",
        ),
        *("--conntrack-max-per-core=1000", "--conntrack-min=1", "--conntrack-tcp-timeout-established=2h"),
        *("--conntrack-udp-timeout=10s", "--conntrack-tcp-be-liberal", "--healthz-bind-address=", "-v=5"),
        *("--metrics-bind-address=0.0.0.0", "--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0"),
        *("--kube-api-qps=50", "--kube-api-burst=100", "--config-sync-period=1h", "--bind-address-hard-fail"),
        *("--iptables-localhost-nodeports=false", "--nodeport-addresses=10.0.0.0/8", "--master=https://api:6443"),
        *("--profiling=false", "--feature-gates=AllAlpha=false", "--show-hidden-metrics-for-version=1.33"),
    )
    assert config.options == Options(
        masquerade_all=True,
        detect_local=DetectLocal.BRIDGE_INTERFACE,
        cluster_cidrs=("10.0.0.0/8",),
        pod_interface="cni0",
        node_port_addresses=("10.0.0.0/8",),
        localhost_node_ports=False,
        node_ips=(bytes([192, 0, 2, 1]),),
    )
    assert config.conntrack == ConntrackSettings(8_000, 7_200, 3_600, tcp_be_liberal=True, udp_s=10)
    assert config.timeouts == Timeouts(established=7_200, half_closed=3_600, unreplied=10)
    assert (config.sync_period_s, config.config_sync_period_s) == (60, 3_600)
    assert (config.oom_score_adj, config.bind_address_hard_fail) == (-500, True)
    assert (config.healthz_bind_address, config.metrics_bind_address) == ("", "0.0.0.0:10249")
    assert (config.api_qps, config.api_burst, config.api_server) == (50, 100, "https://api:6443")
    assert world.logging == {"debug": False, "form": "json", "verbosity": 5}


def test_a_master_is_a_source(world: World) -> None:
    assert world("--master", "http://127.0.0.1:1").exit_code == 0
    assert (world.agents[0].api_server, world.agents[0].kubeconfig) == ("http://127.0.0.1:1", None)


def test_the_section_of_our_own(world: World) -> None:
    own = {
        "uplinkDevices": ["eth*"],
        "podDevices": ["veth*"],
        "mapSizes": {"flows": 64},
        "ipFamily": "ipv6",
        "instance": "blue",
        "stateDir": "/state",
        "bpffs": "/bpf",
        "cgroup": "/cgroup",
        "serveMetrics": False,
        "manifests": str(world.folder),
    }
    path = world.write(HEAD + yaml.safe_dump({"ebpflb": own}))
    result = world("--config", path, "--instance", "green", "--map-size", "slots=32")
    assert (result.exit_code, result.stderr) == (0, "")
    (config,) = world.agents
    assert (config.uplink_devices, config.pod_devices) == (("eth*",), ("veth*",))
    assert (config.instance, config.sizes) == ("green", replace(MapSizes(), slots=32))
    assert (config.bpffs, config.state_dir, config.cgroup) == (Path("/bpf"), Path("/state"), Path("/cgroup"))
    assert (config.manifests, config.metrics_bind_address) == (world.folder, "")


@pytest.mark.parametrize(
    ("text", "flows"),
    [
        ("", MapSizes().flows),
        ("conntrack: {maxPerCore: 0}", MapSizes().flows),
        ("conntrack: {maxPerCore: 10, min: 20}", MapSizes().flows),
        ("conntrack: {maxPerCore: 100000}", 1_600_000),
        ("conntrack: {min: 1000000}", 2_000_000),
        ("conntrack: {maxPerCore: 2147483647}", 1 << 26),
        ("conntrack: {maxPerCore: 100000}\nebpflb: {mapSizes: {flows: 8}}", 8),
    ],
)
def test_the_flow_table_follows_conntrack(world: World, text: str, flows: int) -> None:
    assert world.start("--config", world.write(HEAD + text)).sizes.flows == flows


def test_everything_wrong_is_named_at_once(world: World) -> None:
    path = world.write(
        "apiVersion: v1\nkind: KubeProxyConfiguration\nmode: best\nebpflb: {mapSizes: {flow: 1, slots: 1}}\n"
    )
    result = world("--config", path)
    assert (result.exit_code, world.agents) == (2, [])
    first, *lines = result.stderr.splitlines()
    assert first == f"ebpflb: --config {path}: 4 fields cannot be used as they are:"
    assert [line.partition(":")[0].strip() for line in lines] == [
        *("mode", "apiVersion", "ebpflb.mapSizes.flow", "ebpflb.mapSizes.slots")
    ]
    assert "no map 'flow'; use one of frontends," in lines[2]
    assert "Traceback" not in result.stderr


def test_a_misspelt_field_is_named_beside_what_is_wrong(world: World) -> None:
    result = world("--config", world.write(f"{HEAD}mode: best\nclusterCidr: 10.0.0.0/8\nconntrack: {{maxx: 1}}\n"))
    assert (result.exit_code, world.agents) == (2, [])
    first, *lines = map(str.strip, result.stderr.splitlines())
    assert first.endswith(": 3 fields cannot be used as they are:")
    assert lines[0].startswith("mode: 'best' is not valid")
    assert lines[1:] == [
        "clusterCidr (is clusterCIDR meant?) is not known; correct or remove it",
        "conntrack.maxx is not known; correct or remove it",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--cluster-cidr", "x"], "--cluster-cidr (clusterCIDR): 'x' is not a prefix; give one prefix, or one of each"),
        (["--node-name", " "], "--hostname-override (hostnameOverride) is blank; name the Node of this machine"),
        (["--config", "/nowhere"], "--config /nowhere cannot be read: No such file or directory; give --config the"),
        (["--write-config-to", "/nowhere/x"], "--write-config-to /nowhere/x cannot be written: No such file or"),
    ],
)
def test_what_is_wrong_is_one_line(world: World, arguments: list[str], line: str) -> None:
    result = world("--manifests", world.folder, *arguments)
    assert (result.exit_code, world.agents) == (2, [])
    (found,) = result.stderr.splitlines()
    assert found.startswith(f"ebpflb: {line}")


def test_strict_errors_are_warnings(world: World, caplog: pytest.LogCaptureFixture) -> None:
    path = world.write(f"{HEAD}clusterCidr: x\nmode: ipvs\nmode: nftables\nfeatureGates: {{Nope: true}}\n---\na: 1\n")
    world.start("--config", path, "--cluster-cidr=10.0.0.0/8", "--healthz-port=1")
    file = repr(str(path))
    assert [line.partition(" reason=")[0] for line in caplog.messages] == [
        f"config_lenient file={file} unknown='clusterCidr (is clusterCIDR meant?)' duplicate='mode (line 5)'",
        f"config_documents file={file} ignored=1",
        "flag_ignored flag=--cluster-cidr",
        "flag_ignored flag=--healthz-port",
        "feature_gate_unknown name='Nope'",
        'config_field field=featureGates value={"Nope":true} use=accepted',
        'config_field field=mode value="nftables" use=mapped',
    ]
    assert all("reason=" in line for line in caplog.messages if "gate_unknown" not in line)


def test_a_flag_that_is_ignored_is_not_looked_at(world: World, caplog: pytest.LogCaptureFixture) -> None:
    config = world.start("--config", world.write(HEAD), "--kubeconfig", "/nowhere")
    assert (config.kubeconfig, config.manifests) == (None, world.folder / "manifests")
    assert caplog.messages == ["flag_ignored flag=--kubeconfig reason='the file of --config counts'"]


def test_old_flags_name_their_successors(world: World, caplog: pytest.LogCaptureFixture) -> None:
    config = world.start("--healthz-port", "7", "--metrics-port", "0")
    assert (config.healthz_bind_address, config.metrics_bind_address) == ("0.0.0.0:7", "")
    assert caplog.messages == [
        "flag_deprecated flag=--healthz-port instead=--healthz-bind-address",
        "flag_deprecated flag=--metrics-port instead=--metrics-bind-address",
    ]


@pytest.mark.parametrize("source", [[], ["--config"]])
def test_write_config_to(world: World, source: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    written = world.folder / "written.conf"
    arguments = [*source, str(world.write(KUBEADM))] if source else ["--cluster-cidr", "10.244.0.0/16"]
    result = world(*arguments, "--write-config-to", written)
    assert (result.exit_code, world.agents) == (0, [])
    text = yaml.safe_load(written.read_text())
    assert (text["clusterCIDR"], text["conntrack"]["tcpEstablishedTimeout"]) == ("10.244.0.0/16", "24h0m0s")
    assert text["ebpflb"]["instance"] == "default"
    again = world.folder / "again.conf"
    assert world("--config", written, "--write-config-to", again).exit_code == 0
    assert again.read_text() == written.read_text()


def test_what_is_written_is_remarked_on_as_if_it_ran(world: World, caplog: pytest.LogCaptureFixture) -> None:
    text = f"{HEAD}clusterCidr: x\nportRange: '300'\nmode: ipvs\nmode: nftables\nfeatureGates: {{Nope: true}}\n"
    arguments = ("--config", world.write(text), "--cluster-cidr=10.0.0.0/8")
    written = world("--write-config-to", world.folder / "out", *arguments)
    assert written.exit_code == 0
    assert (written.stdout, caplog.messages) == ("", [])
    *remarks, last = written.stderr.splitlines()
    assert last == f"wrote {world.folder / 'out'}"
    world.start(*arguments)
    assert remarks == caplog.messages
    assert [remark.partition(" ")[0] for remark in remarks] == [
        *("config_lenient", "flag_ignored", "feature_gate_unknown", "config_field", "config_field", "config_field")
    ]


@pytest.mark.parametrize(
    ("flag", "is_only_init"), [("--init-only", True), ("--init-only=true", True), ("--init-only=false", False)]
)
def test_init_only(world: World, flag: str, is_only_init: bool) -> None:
    result = world("--manifests", world.folder, flag)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (len(world.prepared), len(world.agents)) == ((1, 0) if is_only_init else (0, 1))


def test_init_only_needs_no_source(world: World) -> None:
    assert world("--init-only").exit_code == 0
    assert len(world.prepared) == 1


def test_cleanup(world: World) -> None:
    result = world("--cleanup", "--instance", "blue", "--bpffs", world.folder, "--state-dir", world.folder)
    assert (result.exit_code, result.stdout) == (0, "nothing to remove\n")
    assert world.agents == []


def test_a_restart_is_one_line_of_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.error = RestartError("Node node-1 is gone")
    result = world("--manifests", world.folder)
    assert (result.exit_code, result.stderr) == (1, "")
    assert caplog.messages == [
        "restart reason='Node node-1 is gone' remedy='start the agent again, as a DaemonSet does; traffic goes on'"
    ]


@pytest.mark.parametrize("make", [lambda world: world.write("nonsense: [", "x"), lambda world: world.folder])
def test_no_file_shows_a_traceback(world: World, make: Callable[[World], Path]) -> None:
    result = world("--config", make(world))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=3)
names = (
    st.sampled_from(["conntrack", "ebpflb", "mapSizes", "iptables", "clusterCIDR", "hostnameOverride", "mode"])
    | st.text()
)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4))


@settings(max_examples=200, deadline=None)
@given(fields=st.dictionaries(names, trees, max_size=5))
def test_any_file_is_taken_or_refused_with_an_error_for_people(
    fields: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_text(HEAD + yaml.safe_dump(fields, allow_unicode=True) if fields else HEAD, encoding="utf-8")
    try:
        loaded = load_config(path)
    except UsageError as error:
        assert str(error).startswith(f"--config {path}")  # noqa: PT017 - either is right
        return
    config_agent.conntrack_settings(loaded.config.conntrack, 4)
    config_agent.map_sizes(loaded.config, 4)
    config_agent.flow_timeouts(loaded.config)
    log_remarks(loaded)
