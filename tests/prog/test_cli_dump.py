"""The commands against real maps: what was written comes out, in every form, with no agent running."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from ebpflb.cli import main
from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    Counter,
    DeviceFlag,
    Family,
    FlowFlag,
    FlowSeen,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    Protocol,
)
from ebpflb.core.model import format_endpoint
from ebpflb.core.tables import (
    EMPTY_RANGE,
    Backend,
    BackendKey,
    DeviceRow,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Range,
    SourceRangeKey,
    TableName,
)
from ebpflb.datapath.build import BuildSpec, MapSizes, build_programs
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.columns import addresses_of
from ebpflb.datapath.layout import MAP_NAMES
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import programs_of
from ebpflb.datapath.store import PinnedMapStore, open_map

pytestmark = pytest.mark.root

BPFFS = Path("/sys/fs/bpf")
SIZES = MapSizes(64, 64, 64, 64, 1_024, 64, 64, 64, 64, 64)
WEB, DNS = 1, 2
GENERATION = 7


def address(family: Family, number: int) -> bytes:
    return number.to_bytes(family.address_bytes, "big")


CLIENT, FRONTEND, NODE, FIRST_BACKEND, SECOND_BACKEND = 9, 10, 11, 21, 22


@pytest.fixture(name="pins", scope="module")
def _pins() -> Iterator[Pins]:
    """An instance with two services, one flow, one affinity and one UDP socket in each family."""
    pins = Pins(BPFFS, f"test-cli-{uuid4().hex[:12]}")
    try:
        for family in Family:
            pins.create_folders(family)
            hairpin = bytes(family.address_bytes)
            build_programs(BuildSpec(family, pins.maps(family), pins.progs(family), 250, 1, hairpin, sizes=SIZES))
            fill_services(pins, family)
            fill_flows(pins, family)
        yield pins
    finally:
        pins.remove()


def fill_services(pins: Pins, family: Family) -> None:
    both = Range(0, 3)
    web = Frontend(WEB, FrontendKind.CLUSTER_IP, Algorithm.MAGLEV, FrontendFlag.HAS_BACKENDS, 3600, both, EMPTY_RANGE)
    dns = Frontend(
        DNS, FrontendKind.NODE_PORT, Algorithm.RANDOM, FrontendFlag.LOCAL_POLICY, 0, EMPTY_RANGE, EMPTY_RANGE
    )
    as_such = Frontend(
        0, FrontendKind.ADDRESS, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 0, EMPTY_RANGE, EMPTY_RANGE
    )
    backends = {
        number: Backend(
            BackendKey(address(family, at), 8080, Protocol.TCP), BackendState.ACTIVE, BackendFlag(0), GENERATION
        )
        for number, at in ((1, FIRST_BACKEND), (2, SECOND_BACKEND))
    }
    with PinnedMapStore(pins, family) as store:
        store.write_slots({both: np.array([1, 2, 1], np.uint32)})
        rows: dict[TableName, dict[Any, Any]] = {
            TableName.SERVICES: {WEB: "default/web:http/TCP", DNS: "kube-system/dns/UDP"},
            TableName.BACKENDS: dict(backends),
            TableName.MEMBERS: {MemberKey(WEB, 1): MemberSet.CLUSTER},
            TableName.FRONTENDS: {
                FrontendKey(address(family, FRONTEND), 80, Protocol.TCP): web,
                FrontendKey(bytes(family.address_bytes), 30053, Protocol.UDP): dns,
                FrontendKey(address(family, FRONTEND), 0, Protocol.ANY): as_such,
            },
            TableName.NODE_ADDRS: {address(family, NODE): 0},
            TableName.DEVICES: {1: DeviceRow(address(family, NODE), 65_536, DeviceFlag.XDP)},
            TableName.LOCAL_BACKENDS: {LocalBackendKey(WEB, address(family, FIRST_BACKEND)): 1},
            TableName.SOURCE_RANGES: {SourceRangeKey(WEB, bytes(family.address_bytes), 8): 0},
            TableName.OPT_OUTS: {4711: 0},
        }
        for table, of_table in rows.items():
            assert store.put(table, of_table) == []


def put(opened: BpfMap, key: dict[str, Any], value: dict[str, Any]) -> None:
    """Write one entry as a program would; bytes are addresses."""
    keys, values = np.zeros(1, opened.layout.key), np.zeros(1, opened.layout.value)
    for rows, fields in ((keys, key), (values, value)):
        for name, content in fields.items():
            if isinstance(content, bytes):
                rows[name]["word"] = np.frombuffer(content, ">u4")
                assert addresses_of(rows[name]) == [content]
            else:
                rows[name] = content
    assert opened.update(keys, values) == []


def fill_flows(pins: Pins, family: Family) -> None:
    client, frontend, backend = (address(family, number) for number in (CLIENT, FRONTEND, FIRST_BACKEND))
    with JiffiesClock() as clock:
        now = clock.now_jiffies()
    reference = {"backend_id": 1, "generation": GENERATION}
    of_web = {**reference, "service_id": WEB}
    with open_map(pins, family, "flows") as flows:
        put(
            flows,
            {"saddr": client, "daddr": frontend, "sport": 5000, "dport": 80, "protocol": Protocol.TCP},
            {
                **of_web,
                "to_saddr": client,
                "to_daddr": backend,
                "to_sport": 5000,
                "to_dport": 8080,
                "last_seen": now,
                "seen": FlowSeen.SYN | FlowSeen.DATA,
            },
        )
        put(
            flows,
            {"saddr": backend, "daddr": client, "sport": 8080, "dport": 5000, "protocol": Protocol.TCP},
            {
                **of_web,
                "to_saddr": frontend,
                "to_daddr": client,
                "to_sport": 80,
                "to_dport": 5000,
                "last_seen": now,
                "seen": FlowSeen.DATA,
                "flags": FlowFlag.REPLY | FlowFlag.AT_EGRESS,
            },
        )
    with open_map(pins, family, "pending") as pending:
        key = {"saddr": client, "daddr": frontend, "sport": 5001, "dport": 80, "protocol": Protocol.TCP}
        become = {"to_saddr": client, "to_daddr": backend, "to_sport": 5001, "to_dport": 8080}
        put(pending, key, {**of_web, **become, "last_seen": now, "seen": FlowSeen.SYN})
    with open_map(pins, family, "datagrams") as datagrams:
        key = {"saddr": client, "daddr": frontend, "id": 7, "protocol": Protocol.UDP}
        put(datagrams, key, {"held": 1, "last_seen": now})
    with open_map(pins, family, "held_fragments") as held:
        keys, values = np.zeros(1, held.layout.key), np.zeros(1, held.layout.value)
        keys["datagram"]["id"], values["length"] = 7, 1514
        assert held.update(keys, values) == []
    with open_map(pins, family, "affinity") as affinity:
        put(affinity, {"client": client, "service_id": WEB}, {**reference, "last_used": now})
    with open_map(pins, family, "sock_origins") as origins:
        key = {"cookie": 77, "address": backend, "port": 8080, "protocol": Protocol.UDP}
        put(origins, key, {"address": address(family, NODE), "port": 30053, **reference, "service_id": DNS})
    with open_map(pins, family, "sock_choices") as choices:
        key = {"cookie": 77, "address": address(family, NODE), "port": 30053, "protocol": Protocol.UDP}
        put(choices, key, {**reference, "service_id": DNS})


def dump(pins: Pins, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["dump-maps", "--instance", pins.instance, *arguments])


def document(pins: Pins, *arguments: str) -> Any:
    result = dump(pins, "-o", "json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_json_and_yaml_hold_every_map_of_both_families(pins: Pins) -> None:
    found = document(pins)
    assert found["instance"] == pins.instance
    assert list(found["families"]) == ["ipv4", "ipv6"]
    for of_family in found["families"].values():
        assert list(of_family) == list(MAP_NAMES)
        assert {name: len(rows) for name, rows in of_family.items()} == {
            "frontends": 3,
            "backends": 2,
            "slots": 1,
            "services": 2,
            "members": 1,
            "affinity": 1,
            "flows": 2,
            "pending": 1,
            "sock_origins": 1,
            "sock_choices": 1,
            "node_addrs": 1,
            "devices": 1,
            "local_backends": 1,
            "source_ranges": 1,
            "opt_outs": 1,
            "service_cidrs": 0,
            "config": 0,
            "datagrams": 1,
            "held_fragments": 1,
            "counters": len(Counter),
            "marks": 3,
            "changes": 1,
        }
    static = [name for name in MAP_NAMES if name not in {"flows", "pending", "affinity", "datagrams"}]  # they show ages
    assert yaml.safe_load(dump(pins, "-o", "yaml", *static).stdout) == document(pins, *static)


@pytest.mark.parametrize("family", Family)
def test_words_in_place_of_numbers(pins: Pins, family: Family) -> None:
    maps = document(pins)["families"][f"ipv{family.value}"]
    client, frontend, node, first, second = (
        format_endpoint(address(family, number), port)
        for number, port in (
            (CLIENT, 5000),
            (FRONTEND, 80),
            (NODE, 30053),
            (FIRST_BACKEND, 8080),
            (SECOND_BACKEND, 8080),
        )
    )
    node_port, as_such, web = maps["frontends"]
    assert (as_such["kind"], f"{as_such['frontend']}:80") == ("Address", frontend.replace("[", "").replace("]", ""))
    assert (web["frontend"], web["service"]) == (f"{frontend}/TCP", "default/web:http/TCP")
    assert (web["kind"], web["algorithm"], web["policy"]) == ("ClusterIP", "maglev", "Cluster")
    assert web["cluster"]["backends"] == [f"{first}/TCP", f"{second}/TCP"]
    assert (node_port["kind"], node_port["policy"]) == ("NodePort", "Local")
    assert [share["slots"] for share in maps["slots"][0]["distribution"]] == [2, 1]
    flows = {row["direction"]: row for row in maps["flows"]}
    assert {(row["state"], row["service"], row["backend"]) for row in maps["flows"]} == {
        ("established", "default/web:http/TCP", f"{first}/TCP")
    }
    assert (flows["request"]["source"], flows["request"]["destination"]) == (client, frontend)
    assert flows["reply"]["to_source"] == frontend
    assert 0 <= flows["request"]["age_s"] < 600
    assert 3000 < maps["affinity"][0]["seconds_left"] <= 3600
    assert maps["affinity"][0]["backend"] == f"{first}/TCP"
    assert maps["sock_origins"][0]["frontend"] == f"{node}/UDP"
    assert maps["sock_origins"][0]["service"] == "kube-system/dns/UDP"
    assert [(row["destination"], row["state"]) for row in maps["pending"]] == [(frontend, "unconfirmed")]
    assert maps["local_backends"][0]["backend"] == f"{first}/TCP"
    assert maps["source_ranges"][0]["range"].endswith("/8")
    assert maps["opt_outs"] == [{"netns_cookie": 4711}]
    assert maps["datagrams"][0]["waiting"] == 1
    assert maps["held_fragments"][0]["length"] == 1514
    lo = maps["devices"][0]
    assert (lo["device"], lo["mtu"], lo["flags"]) == ("lo", 65_536, ["xdp"])
    assert maps["counters"][0] == {"counter": "sock_translated", "value": 0}


def test_tables_show_the_same(pins: Pins) -> None:
    lines = dump(pins, "frontends", "flows").stdout.splitlines()
    titles = [line for line in lines if line.startswith(("frontends (", "flows ("))]
    assert titles == ["frontends (ipv4, 3)", "flows (ipv4, 2)", "frontends (ipv6, 3)", "flows (ipv6, 2)"]
    (web,) = (line.split() for line in lines if line.startswith("0.0.0.10:80/TCP"))
    assert web[:7] == ["0.0.0.10:80/TCP", "ClusterIP", "default/web:http/TCP", "maglev", "Cluster", "-", "3600s"]
    assert sum("established" in line for line in lines) == 4


def test_one_service(pins: Pins) -> None:
    maps = document(pins, "--service", "kube-system/dns")["families"]["ipv4"]
    assert {name: len(rows) for name, rows in maps.items()} == {
        "frontends": 1,
        "backends": 0,
        "slots": 0,
        "services": 1,
        "members": 0,
        "affinity": 0,
        "flows": 0,
        "pending": 0,
        "sock_origins": 1,
        "sock_choices": 1,
        "local_backends": 0,
        "source_ranges": 0,
    }
    lines = dump(pins, "--service", "kube-system/dns", "flows").stdout.splitlines()
    assert [lines[0], lines[2]] == ["flows (ipv4, 0)", "(empty)"]


def test_a_service_or_an_instance_that_is_not_there(pins: Pins) -> None:
    result = dump(pins, "--service", "default/we")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith(f"ebpflb: service default/we: not in the maps of instance {pins.instance};")
    result = CliRunner().invoke(main, ["dump-maps", "--instance", "nobody"])
    assert result.exit_code == 1
    assert pins.instance in result.stderr


def test_doctor_builds_and_leaves_nothing() -> None:
    result = CliRunner().invoke(main, ["doctor", "-o", "json"])
    findings = {each["name"]: each for each in json.loads(result.stdout)["findings"]}
    assert findings["trial build IPV4"]["level"] == "ok"
    assert findings["trial build IPV6"]["level"] == "ok"
    # Of this process: the session that tests namespaces runs doctors of its own at the same time.
    assert not (BPFFS / f"ebpflb-doctor-{os.getpid()}").exists()


def test_cleanup_removes_every_pin(tmp_path: Path) -> None:
    pins = Pins(BPFFS, f"test-cli-{uuid4().hex[:12]}")
    family = Family.IPV4
    try:
        pins.create_folders(family)
        spec = BuildSpec(family, pins.maps(family), pins.progs(family), 250, 1, bytes(4), sizes=SIZES)
        build_programs(spec)
        pinned = pins.list()
        assert {pin.name for pin in pinned} >= {*MAP_NAMES, *(each.name(family) for each in programs_of(family))}
        expected = {f"removed pin {pin}" for pin in pinned}
        clean = ["cleanup", "--instance", pins.instance, "--state-dir", str(tmp_path)]
        result = CliRunner().invoke(main, clean)
        assert (result.exit_code, set(result.stdout.splitlines())) == (0, expected)
        assert not pins.root.exists()
        assert CliRunner().invoke(main, clean).stdout == "nothing to remove\n"
    finally:
        pins.remove()
