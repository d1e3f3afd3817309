"""What maps tell about a flow, over rows made by hand; ``tests/explain`` has the kernel's."""

import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ebpflb.cli import explain_live
from ebpflb.cli.explain_flows import Query, parse_target
from ebpflb.cli.explain_live import LiveWorld, counter_of
from ebpflb.cli.explain_source import decide_in
from ebpflb.cli.explain_text import lines
from ebpflb.core.abi import (
    ConfigFlag,
    Counter,
    DeviceFlag,
    Family,
    FrontendFlag,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.explain import Client, Hook, Verdict
from ebpflb.core.model import parse_address
from ebpflb.core.tables import CONFIG_KEY, ConfigRow, DeviceRow, FrontendKey, Prefix, Tables
from ebpflb.datapath.pins import Pins
from ebpflb.errors import UsageError
from ebpflb.reconcile.status import HealthPort, NodeStatus, Status, StatusFile
from tests.unit.cli import worlds

PINS = Pins(Path("/nowhere"), "test")
NOWHERE = Prefix(bytes(4), 32)


NO_FLAGS = ConfigFlag(0)


def tables(flags: ConfigFlag = NO_FLAGS) -> Tables:
    made = worlds.tables()
    return replace(
        made,
        node_addrs={parse_address("192.0.2.1"): NodeAddrFlag.NODE_PORTS},
        devices={7: DeviceRow(bytes(4), 1500, DeviceFlag.POD_SOURCE), 8: DeviceRow(bytes(4), 1500, DeviceFlag(0))},
        config={CONFIG_KEY: ConfigRow(flags, NOWHERE, Prefix(parse_address("10.96.0.0"), 16))},
    )


@pytest.fixture(name="world")
def _world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LiveWorld:
    return live(monkeypatch, tables(), StatusFile(tmp_path / "status"))


def live(monkeypatch: pytest.MonkeyPatch, made: Tables, status: StatusFile) -> LiveWorld:
    monkeypatch.setattr(explain_live, "families", lambda _pins: [Family.IPV4])
    monkeypatch.setattr(explain_live, "read_tables", lambda _pins, _family: made)
    return LiveWorld.read(PINS, status)


def query(target: str = "10.96.0.10:80", device: str = "") -> Query:
    return parse_target("10.9.0.1", target, device)


def test_the_chosen_and_those_that_leave_are_named(world: LiveWorld) -> None:
    decision = decide_in(world, query(), Hook.PACKET)
    weighing = world.weigh(decision, query())
    assert [(each.who, each.is_chosen, each.reason) for each in weighing.endpoints] == [
        ("10.1.0.1:8080", True, ""),
        ("10.1.0.2:8080", True, ""),
        ("10.1.0.3:8080", True, ""),
        ("10.1.0.4:8080", True, ""),
        ("10.1.0.5:8080", False, "takes no new flows, and finishes those it has"),
    ]


def test_backends_of_another_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tables()
    key = FrontendKey(bytes(4), 30080, Protocol.TCP)
    assert FrontendFlag.LOCAL_POLICY in made.frontends[key].flags
    world = live(monkeypatch, made, StatusFile(tmp_path / "status"))
    asked = query("192.0.2.1:30080")
    weighing = world.weigh(decide_in(world, asked, Hook.PACKET), asked)
    assert [each.reason for each in weighing.endpoints if each.who == "10.1.0.2:8080"] == [
        "takes flows of another policy, or of another Service"
    ]


def test_who_is_kept_out_asked_for_no_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tables()
    key = next(each for each in made.frontends if each.address == query().destination)
    row = made.frontends[key]
    restricted = row._replace(flags=row.flags | FrontendFlag.SOURCE_RANGES)
    made = replace(made, frontends={**made.frontends, key: restricted})
    world = live(monkeypatch, made, StatusFile(tmp_path / "status"))
    decision = decide_in(world, query(), Hook.PACKET)
    assert decision.verdict is Verdict.DROP
    reasons = {each.reason for each in world.weigh(decision, query()).endpoints}
    assert reasons == {"not asked for: the packet does not get that far"}


def test_what_no_frontend_claims_has_no_endpoints(world: LiveWorld) -> None:
    asked = query("8.8.8.8:53")
    assert world.weigh(decide_in(world, asked, Hook.PACKET), asked).endpoints == ()


def test_traces_are_those_of_the_question(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def flow(**rest: Any) -> dict[str, Any]:
        plain = {"direction": "request", "protocol": "TCP", "source": "10.9.0.1:5000", "destination": "10.96.0.10:80"}
        return {**plain, "to_destination": "10.1.0.1:8080", "state": "established", "age_s": 1.0, **rest}

    found = {
        "flows": [
            flow(),
            flow(source="10.9.0.11:5000"),
            flow(destination="10.96.0.10:81"),
            flow(protocol="UDP"),
            flow(direction="reply"),
        ],
        "pending": [flow(source="10.9.0.1:5001")],
        "affinity": [
            {"service_id": worlds.WEB, "client_address": client, "backend": None, "seconds_left": 9.0}
            for client in ("10.9.0.1", "10.9.0.2", None)
        ],
        "sock_origins": [
            {"frontend": frontend, "socket_cookie": 77, "backend": "10.1.0.1:8080/TCP"}
            for frontend in ("10.96.0.10:80/TCP", "10.96.0.10:80/UDP")
        ],
        "counters": [{"counter": "flow_created", "value": 5}, {"counter": "passed", "value": 6}],
    }
    monkeypatch.setattr(
        explain_live, "decode_maps", lambda _pins, _tables, names, _service: {name: found[name] for name in names}
    )
    decision = decide_in(world, query(), Hook.PACKET)
    traces = world.traces(decision, query())
    assert [row["source"] for row in traces.flows] == ["10.9.0.1:5000", "10.9.0.1:5001"]
    assert (len(traces.affinity), len(traces.sockets), traces.counters) == (1, 1, {"flow_created": 5})
    assert list(lines(world, query(), decision, Hook.PACKET))[-8:] == [
        "note          maps hold no endpoint that is not used: --manifests tells why not",
        "counter       flow_created 5, over all Services",
        "flows         2 of this source",
        "  10.9.0.1:5000 -> 10.1.0.1:8080, established, 1.0 s ago",
        "  10.9.0.1:5001 -> 10.1.0.1:8080, established, 1.0 s ago",
        "affinity      a backend that is gone for 9.0 s more",
        "sockets       1 dialled this, of whatever source",
        "  socket 77 -> 10.1.0.1:8080/TCP",
    ]
    nobody = query("8.8.8.8:53")
    assert world.traces(decide_in(world, nobody, Hook.PACKET), nobody).counters == {"passed": 6}


@pytest.mark.parametrize(("device", "client"), [("veth7", Client.POD), ("eth8", Client.OTHER), ("eth9", Client.OTHER)])
def test_devices_are_asked_whether_pods_are_behind_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, client: Client
) -> None:
    monkeypatch.setattr(explain_live, "if_nametoindex", lambda name: int(name[-1]))
    world = live(monkeypatch, tables(ConfigFlag.DETECT_BY_DEVICE), StatusFile(tmp_path / "status"))
    assert decide_in(world, query(device=device), Hook.PACKET).client is client


@pytest.mark.parametrize(("device", "is_pods"), [("veth7", False), ("eth8", False), ("veth6", True)])
def test_where_networks_tell_pods_a_device_is_asked_which_programs_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, is_pods: bool
) -> None:
    monkeypatch.setattr(explain_live, "if_nametoindex", lambda name: int(name[-1]))
    made = tables(ConfigFlag.DETECT_BY_NETWORK)
    made = replace(made, devices={**made.devices, 6: DeviceRow(bytes(4), 1500, DeviceFlag.PODS)})
    world = live(monkeypatch, made, StatusFile(tmp_path / "status"))
    assert world.is_pod_device(Family.IPV4, device) is is_pods


def test_a_device_that_is_not_there(world: LiveWorld) -> None:
    name = next(each for each in ("no-such-dev", "nor-this-one") if each not in dict(socket.if_nameindex()).values())
    with pytest.raises(UsageError, match=f"there is no device '{name}' in this network namespace; name one"):
        decide_in(world, query(device=name), Hook.PACKET)


def test_a_family_that_is_not_served(world: LiveWorld) -> None:
    asked = parse_target("fd00::1", "[fd00::2]:80")
    with pytest.raises(UsageError, match="the maps of instance test: IPv6 is not served; ask about the other family"):
        decide_in(world, asked, Hook.PACKET)
    assert not world.is_pod_device(Family.IPV6, socket.if_nameindex()[0][1])


def test_health_checks_are_in_the_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status")
    missing = live(monkeypatch, tables(), file)
    (remark,) = missing.remarks
    assert remark.startswith("health checks are not known: ")
    asked = query("192.0.2.1:32000")
    assert decide_in(missing, asked, Hook.PACKET).verdict is Verdict.PASS
    node = NodeStatus(health_ports=(HealthPort("shop/web", 32000, {"IPv4": 1}),))
    file.write(Status("n1", datetime.now(UTC), (), "", {}, (), (), None, node=node))
    known = live(monkeypatch, tables(), file)
    decision = decide_in(known, asked, Hook.PACKET)
    assert (known.remarks, decision.verdict, decision.service) == ((), Verdict.ACCEPT, "shop/web")


def test_a_health_check_of_the_other_family_and_one_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = StatusFile(tmp_path / "status")
    ports = (HealthPort("shop/web", 32000, {"IPv6": 1}), HealthPort("shop/api", 32001, {"IPv4": 1}, "in use"))
    file.write(Status("n1", datetime.now(UTC), (), "", {}, (), (), None, node=NodeStatus(health_ports=ports)))
    known = live(monkeypatch, tables(), file)
    assert decide_in(known, query("192.0.2.1:32000"), Hook.PACKET).verdict is Verdict.PASS
    assert known.remarks == ("health check of Service shop/api: in use",)


@pytest.mark.parametrize(
    ("target", "hook", "counter"),
    [
        ("10.96.0.10:80", Hook.PACKET, Counter.FLOW_CREATED),
        ("10.96.0.10:80", Hook.SOCKET, Counter.SOCK_TRANSLATED),
        ("10.96.0.53:53", Hook.PACKET, Counter.PASSED),
        ("10.96.0.53:53/udp", Hook.PACKET, Counter.REJECTED),
        ("10.96.0.53:53/udp", Hook.SOCKET, Counter.SOCK_REJECTED),
        ("8.8.8.8:53", Hook.SOCKET, Counter.SOCK_PASSED),
        ("192.0.2.1:32000", Hook.PACKET, None),
        ("192.0.2.1:32000", Hook.SOCKET, None),
    ],
)
def test_which_counter_such_a_flow_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str, hook: Hook, counter: Counter | None
) -> None:
    file = StatusFile(tmp_path / "status")
    node = NodeStatus(health_ports=(HealthPort("shop/web", 32000, {"IPv4": 0}),))
    file.write(Status("n1", datetime.now(UTC), (), "", {}, (), (), None, node=node))
    assert counter_of(decide_in(live(monkeypatch, tables(), file), query(target), hook)) is counter
