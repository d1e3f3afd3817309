import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from ebpflb.agent import AgentConfig
from ebpflb.agent.config import Acceleration
from ebpflb.cli import config_agent, main, run, run_node
from ebpflb.core.abi import Family
from ebpflb.core.options import Forwarding, Options
from ebpflb.core.proxy_config_own import EbpflbSection
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.stale import TcpSockets
from ebpflb.errors import InstanceBusyError
from ebpflb.host.sysctl import ConntrackSettings
from ebpflb.reconcile import garbage


class Agent:
    """Stands in for ``run_agent``."""

    def __init__(self) -> None:
        self.configs: list[AgentConfig] = []
        self.error: Exception | None = None
        self.is_tuned = False

    def __call__(self, config: AgentConfig, stop: threading.Event) -> None:
        assert not stop.is_set()
        assert self.is_tuned, "how this process looks for garbage is decided before all else"
        self.configs.append(config)
        if self.error is not None:
            raise self.error

    def tune(self) -> None:
        """Stands in for what would last until the end of this process."""
        self.is_tuned = True


@pytest.fixture(name="agent")
def _agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Agent:
    agent = Agent()
    monkeypatch.setattr(run_node, "run_agent", agent)
    monkeypatch.setattr(garbage, "tune", agent.tune)
    monkeypatch.setattr(run, "_TOKEN", tmp_path / "no-token")
    monkeypatch.setattr(run_node, "set_up_logging", lambda **_: None)
    monkeypatch.setattr(config_agent, "cgroup2_mounts", lambda _: [Path("/cgroup-root")])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(socket, "gethostname", lambda: "Node-1")
    return agent


def told(config: AgentConfig) -> AgentConfig:
    """Return a configuration with what kube-proxy's own defaults add to it."""
    return replace(
        config,
        oom_score_adj=-999,
        conntrack=ConntrackSettings(maximum=262_144, tcp_established_s=86_400, tcp_close_wait_s=3_600),
        config_text=run_text(config),
    )


def run_text(config: AgentConfig) -> str:
    return msgspec.json.encode(KubeProxyConfiguration(ebpflb=EbpflbSection(manifests=str(config.manifests)))).decode()


def start(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def test_defaults(agent: Agent, tmp_path: Path) -> None:
    assert start("--manifests", tmp_path).exit_code == 0
    assert agent.configs == [told(AgentConfig(node_name="node-1", manifests=tmp_path, cgroup=Path("/cgroup-root")))]


def test_every_flag(agent: Agent, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    result = start(
        *("--kubeconfig", kubeconfig, "--node-name", " Worker-2 ", "--uplink-devices", "eth*, ens3"),
        *(
            "--acceleration",
            "generic",
            "--uplink-devices",
            "bond0",
            "--pod-devices",
            "veth*",
            "--cgroup",
            tmp_path,
            "--bpffs",
            "/bpf",
        ),
        *("--instance", "blue-2", "--state-dir", tmp_path / "state", "--ip-family", "ipv6"),
        *("--map-size", "flows=2048", "--map-size", "slots=64", "--no-protect-node-ports", "--forwarding", "hybrid"),
        *("--close-tcp-sockets", "draining", "--no-answer-ping", "--no-masquerade-local-pods"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    expected = told(
        AgentConfig(
            node_name="worker-2",
            kubeconfig=kubeconfig,
            uplink_devices=("eth*", "ens3", "bond0"),
            pod_devices=("veth*",),
            acceleration=Acceleration.GENERIC,
            options=Options(Forwarding.HYBRID, masquerade_local_pods=False),
            cgroup=tmp_path,
            bpffs=Path("/bpf"),
            instance="blue-2",
            state_dir=tmp_path / "state",
            families=(Family.IPV6,),
            sizes=MapSizes(flows=2048, slots=64),
            protect_node_ports=False,
            close_tcp_sockets=TcpSockets.DRAINING,
            answer_ping=False,
        )
    )
    assert [replace(config, config_text=expected.config_text) for config in agent.configs] == [expected]


def test_whom_the_socket_hooks_leave_alone(agent: Agent, tmp_path: Path) -> None:
    patterns = ("--socket-opt-out", "/run/netns/vm-*, /run/netns/legacy", "--socket-opt-out", "/proc/7/ns/net")
    assert start("--manifests", tmp_path, *patterns, "--opt-out-runtime-class", "").exit_code == 0
    assert agent.configs[0].socket_opt_outs == ("/run/netns/vm-*", "/run/netns/legacy", "/proc/7/ns/net")
    assert agent.configs[0].opt_out_runtime_classes == ()


def test_in_a_pod_no_source_is_named(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.touch()
    monkeypatch.setattr(run, "_TOKEN", token)
    assert start().exit_code == 0
    assert (agent.configs[0].manifests, agent.configs[0].kubeconfig) == (None, None)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "name a source with --manifests or --kubeconfig"),
        (["--manifests", ".", "--kubeconfig", "file"], "--manifests and --kubeconfig exclude each other"),
        (["--manifests", "missing"], "'missing' does not exist"),
        (["--manifests", "file"], "'file' is a file"),
        (["--kubeconfig", "."], "'.' is a directory"),
        (["--manifests", ".", "--cgroup", "missing"], "'missing' does not exist"),
        (["--manifests", ".", "--instance", "UPPER"], "must be 1 to 32 lower-case letters"),
        (["--manifests", ".", "--map-size", "flow=9"], "no map 'flow'; use one of frontends, backends,"),
        (["--manifests", ".", "--map-size", "flows"], "not a size of the map flows; give a number from 1 to"),
        (
            ["--manifests", ".", "--map-size", "flows=0"],
            "not a size of the map flows; give a number from 1 to",
        ),
        (
            ["--manifests", ".", "--map-size", "flows=-1"],
            "not a size of the map flows; give a number from 1 to",
        ),
        (["--manifests", ".", "--map-size", "flows=99999999999"], "give a number from 1 to 67108864"),
        (
            ["--manifests", ".", "--map-size", "slots=15"],
            "not a size of the map slots; give a number from 16 to",
        ),
        (["--manifests", ".", "--socket-opt-out", "vm-*"], "write /run/netns/vm-* for a named namespace"),
        (["--manifests", ".", "--ip-family", "ipv5"], "'ipv5' is not one of 'ipv4', 'ipv6', 'dual'"),
        (["--manifests", ".", "--acceleration", "xdp"], "'xdp' is not one of 'auto', 'native', 'generic', 'off'"),
        (["--uplinks", "x"], "No such option '--uplinks'"),
    ],
)
def test_wrong_flags_are_one_line(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    result = start(*flags)
    assert (result.exit_code, agent.configs) == (2, [])
    (line,) = result.stderr.splitlines()
    assert words in line
    assert line.endswith("; see `ebpflb run --help`")


def test_a_source_that_cannot_be_read(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    result = start("--manifests", tmp_path)
    assert result.exit_code == 2
    assert f"'{tmp_path}' is not readable" in result.stderr


def test_without_cgroup_v2(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_agent, "cgroup2_mounts", lambda _: [])
    result = start("--manifests", tmp_path)
    assert result.exit_code == 3
    assert result.stderr.startswith("ebpflb: cgroup v2 is not mounted")


def test_without_root(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = start("--manifests", tmp_path)
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)


def test_an_agents_error_ends_the_command_with_its_code(agent: Agent, tmp_path: Path) -> None:
    agent.error = InstanceBusyError("instance default: another agent runs it", remedy="stop it")
    result = start("--manifests", tmp_path)
    assert (result.exit_code, result.stderr) == (4, "ebpflb: instance default: another agent runs it; stop it\n")


class Early:
    """Stands in for ``read_early``: remembers what is read, and whether it was when the agent came."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.read: list[tuple[Path | None, str]] = []
        self.aborted = threading.Event()

    @contextmanager
    def __call__(self, kubeconfig: Path | None, server: str) -> Iterator[Callable[[], None]]:
        assert not self.agent.configs
        self.read.append((kubeconfig, server))
        yield self.aborted.set
        assert self.agent.configs, "it ends after the agent"


@pytest.mark.parametrize(
    ("flags", "is_read"),
    [
        (["--kubeconfig", "config", "--master", "https://api:6443"], True),
        (["--manifests", "."], False),
        (["--kubeconfig", "config", "--init-only"], False),
    ],
)
def test_credentials_are_read_before_the_agent_asks(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], is_read: bool
) -> None:
    (tmp_path / "config").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_node, "prepare_node", agent)
    early = Early(agent)
    monkeypatch.setattr(run, "read_early", early)
    result = start(*flags)
    assert (result.exit_code, result.stderr) == (0, "")
    (config,) = agent.configs
    assert early.read == ([(config.kubeconfig, config.api_server)] if is_read else [])
    assert early.aborted.is_set() == is_read, "by the end, as by a signal"
