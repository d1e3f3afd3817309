import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ebpflb.cli import main
from ebpflb.cli.state import status_file
from ebpflb.host.lock import InstanceLock
from ebpflb.reconcile.status import (
    FailedDevice,
    FailedRow,
    FamilyStatus,
    HealthPort,
    NodeStatus,
    RefusedObject,
    RoleHooks,
    Status,
    Usage,
    XdpDevice,
)

NOW = datetime.now(UTC)
REFUSED = RefusedObject("Service default/web", "spec.ports[0].port", "70000 is no port", "use 1 to 65535")


def status(**changes: Any) -> Status:
    facts: dict[str, Any] = {
        "node_name": "node-1",
        "started_at": NOW - timedelta(hours=3),
        "waiting_for": (),
        "source_error": "",
        "objects": {"Service": 2, "EndpointSlice": 3},
        "refused": (REFUSED,),
        "families": (
            FamilyStatus(
                family=4,
                maps={"frontends": Usage(16, 64), "slots": Usage(0, 1024)},
                service_ports=5,
                refused=(REFUSED,),
                failed_rows=changes.pop("failed_rows", ()),
                error=changes.pop("error", ""),
            ),
        ),
        "pending_since": None,
        "last_change_applied_at": NOW,
        "healthy": True,
    }
    return Status(**facts | changes)


def ask(state_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["status", "--bpffs", str(state_dir), "--state-dir", str(state_dir), *arguments])


def running(state_dir: Path) -> InstanceLock:
    """Hold the lock that an agent would hold."""
    return InstanceLock("default", state_dir / "ebpflb/default")


def test_without_agent_and_status(tmp_path: Path) -> None:
    status_file(tmp_path, "blue").write(status())
    result = ask(tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "instance default: NOT HEALTHY (not running)",
        "  no agent runs; traffic follows what the maps hold",
        "  no status was left",
        "  other instances: blue",
    ]


def test_a_dead_agents_status_is_not_healthy(tmp_path: Path) -> None:
    status_file(tmp_path, "default").write(status())
    result = ask(tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[:2] == [
        "instance default: NOT HEALTHY (not running)",
        "  no agent runs; traffic follows what the maps hold",
    ]
    assert "node node-1" in result.stdout


def test_healthy(tmp_path: Path) -> None:
    status_file(tmp_path, "default").write(status())
    with running(tmp_path):
        result = ask(tmp_path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("instance default: healthy (process ")
    assert "node node-1, agent started 3h ago" in lines
    assert "objects: 2 Service, 3 EndpointSlice" in lines
    assert [line.split() for line in lines if line.startswith("ipv4  ")] == [
        ["ipv4", "frontends", "16", "64", "25.0%"],
        ["ipv4", "slots", "0", "1024", "0.0%"],
    ]


def test_who_is_left_to_the_packet_programs(tmp_path: Path) -> None:
    pods = tuple(f"pod demo/web-{number} (sidecar.istio.io/status)" for number in range(6))
    status_file(tmp_path, "default").write(status(node=NodeStatus(opted_out=pods, awaiting_opt_out=("/run/netns/vm",))))
    lines = ask(tmp_path).stdout.splitlines()
    assert f"left to the packet programs: {', '.join(pods[:4])} and 2 more" in lines
    assert "to be left to them: /run/netns/vm" in lines
    assert json.loads(ask(tmp_path, "-o", "json").stdout)["status"]["node"]["opted_out"] == list(pods)


def test_a_refused_object_is_shown_once_with_its_remedy(tmp_path: Path) -> None:
    status_file(tmp_path, "default").write(status())
    lines = ask(tmp_path).stdout.splitlines()
    assert [line.split("  ") for line in lines if line.startswith("Service default/web")] == [
        ["Service default/web", "spec.ports[0].port", "70000 is no port", "use 1 to 65535"]
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"waiting_for": ("EndpointSlice",)}, "waiting for EndpointSlice: nothing is programmed before"),
        ({"source_error": "connection refused"}, "source: connection refused"),
        ({"error": "read frontends: gone"}, "ipv4: read frontends: gone"),
        ({"failed_rows": (FailedRow("members", "1", "full"),)}, "ipv4: 1 rows were not taken by the kernel"),
        (
            {"node": NodeStatus(failed=(FailedDevice("eth0", "uplink", "device eth0: refused", "look"),))},
            "uplink device is not served: device eth0: refused; look",
        ),
        ({"pending_since": NOW - timedelta(hours=9, minutes=5)}, "a change is not in the maps, 9h ago"),
    ],
)
def test_ill_health_has_a_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    status_file(tmp_path, "default").write(status(healthy=False, **changes))
    with running(tmp_path):
        result = ask(tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1] == f"  {reason}"


def test_a_source_out_of_reach_is_no_ill_health_but_said_first(tmp_path: Path) -> None:
    status_file(tmp_path, "default").write(status(source_error="connection refused"))
    with running(tmp_path):
        result = ask(tmp_path)
        document = json.loads(ask(tmp_path, "-o", "json").stdout)
    assert result.exit_code == 0
    assert result.stdout.startswith("instance default: healthy, but: source: connection refused (process ")
    assert (document["healthy"], document["reasons"]) == (True, [])
    assert document["warnings"] == ["source: connection refused"]


def test_hooks_and_warnings_are_shown(tmp_path: Path) -> None:
    devices = tuple(f"veth{number}" for number in range(6))
    node = NodeStatus(
        cgroup="/cg",
        socket_programs=("lb_connect4",),
        devices=(RoleHooks("uplink", ("lb_uplink_in4",), ("eth0",)), RoleHooks("pod", ("lb_pod_in4",), devices)),
        repairs=2,
        xdp=(
            XdpDevice("eth0", "native", transmits=True),
            XdpDevice("eth1", reason="busy"),
            XdpDevice("eth2", "native", reason="tc forwards"),
        ),
        warnings=("no device matches --pod-devices cali*",),
    )
    status_file(tmp_path, "default").write(status(node=node))
    with running(tmp_path):
        result = ask(tmp_path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1] == "  warning: no device matches --pod-devices cali*"
    for line in (
        "sockets of /cg: lb_connect4",
        "uplink devices: eth0: lb_uplink_in4",
        "pod devices: veth0, veth1, veth2, veth3 and 2 more: lb_pod_in4",
        "xdp on eth0: native",
        "xdp on eth1: none; busy",
        "xdp on eth2: native; tc forwards",
        "programs that others had removed were attached again: 2 times",
    ):
        assert line in lines


def test_health_checks_are_listed_with_their_counts(tmp_path: Path) -> None:
    ports = (
        HealthPort("shop/web", 32000, {"IPv4": 2}),
        HealthPort("shop/api", 32001, {"IPv4": 1, "IPv6": 1}, "taken"),
        HealthPort("shop/new", 32002, {"IPv4": 2, "IPv6": 0}),
    )
    status_file(tmp_path, "default").write(status(node=NodeStatus(health_ports=ports)))
    with running(tmp_path):
        lines = [line.split() for line in ask(tmp_path).stdout.splitlines()]
    assert lines[lines.index(["health", "checks"]) + 1 :][:4] == [
        ["SERVICE", "PORT", "LOCAL", "BACKENDS", "STATE"],
        ["shop/web", "32000", "2", "listens"],
        ["shop/api", "32001", "1", "taken"],
        ["shop/new", "32002", "IPv4", "2,", "IPv6", "0", "listens"],
    ]


def test_failed_rows_are_listed(tmp_path: Path) -> None:
    status_file(tmp_path, "default").write(status(healthy=False, failed_rows=(FailedRow("members", "1/2", "full"),)))
    assert ["ipv4", "members", "1/2", "full"] in [line.split() for line in ask(tmp_path).stdout.splitlines()]


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents(tmp_path: Path, form: str, load: Any) -> None:
    status_file(tmp_path, "default").write(status())
    document = load(ask(tmp_path, "-o", form).stdout)
    assert (document["instance"], document["healthy"], document["process"]) == ("default", False, None)
    assert document["reasons"] == ["no agent runs; traffic follows what the maps hold"]
    assert document["status"]["families"][0]["maps"]["frontends"] == {"used": 16, "capacity": 64}


def test_a_damaged_status_is_one_line(tmp_path: Path) -> None:
    status_file(tmp_path, "default").path.write_text("{")
    result = ask(tmp_path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
