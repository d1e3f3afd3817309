"""The same answers from maps in the kernel as from manifests, and what only maps can tell."""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ebpflb.cli import main
from ebpflb.core.abi import Family, FlowSeen, Protocol
from ebpflb.core.explain_snapshot import index_of
from ebpflb.core.model import parse_address
from ebpflb.core.proxy_config import configure
from ebpflb.core.proxy_config_options import options_of
from ebpflb.core.tables import FrontendKey, TableName, Tables
from ebpflb.datapath.build import BuildSpec, MapSizes, build_programs
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.files.offline import read_offline
from tests.explain.clusters import random_cluster
from tests.explain.objects import Cluster, Manifest
from tests.explain.test_explain_flows import explain, write

pytestmark = pytest.mark.root

BPFFS = Path("/sys/fs/bpf")
SIZES = MapSizes(frontends=4096, backends=4096, services=4096, members=4096, slots=1 << 20, flows=64, pending=64)
SEED = 9
"""Of a cluster with a detector by network, without direct answers: which pods are here that are no backends is no
map's. Nor is a device that this machine does not have."""


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> Cluster:
    cluster = random_cluster(SEED, 300)
    assert cluster.config["ebpflb"]["forwarding"] == "snat"
    for flow in cluster.flows:
        flow.pop("device", None)
    return cluster


def tables_of(cluster: Cluster, folder: Path, family: Family) -> Tables:
    options = options_of(configure(cluster.config, {}, {}).config)
    offline = read_offline(write(cluster, folder, 0), cluster.node, map(parse_address, cluster.node_addresses))
    return index_of(offline.snapshot, family, options).index.tables


@pytest.fixture(name="pins", scope="module")
def _pins(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pins]:
    pins = Pins(BPFFS, f"test-explain-{uuid4().hex[:12]}")
    try:
        for family in Family:
            pins.create_folders(family)
            hairpin = bytes(family.address_bytes)
            build_programs(BuildSpec(family, pins.maps(family), pins.progs(family), 250, 1, hairpin, sizes=SIZES))
            tables = tables_of(cluster, tmp_path_factory.mktemp("manifests"), family)
            with PinnedMapStore(pins, family) as store:
                store.write_slots(tables.slots)
                for table in TableName:
                    assert store.put(table, tables.rows(table)) == []
        yield pins
    finally:
        pins.remove()


def ask(pins: Pins, *arguments: str, flows: str | None = None) -> Result:
    command = ["explain", "--instance", pins.instance, *arguments]
    return CliRunner().invoke(main, command, input=flows)


@pytest.mark.parametrize("hook", ["packet", "socket"])
def test_maps_and_manifests_give_equal_answers(cluster: Cluster, pins: Pins, hook: str, tmp_path: Path) -> None:
    lines = "".join(json.dumps(flow) + "\n" for flow in cluster.flows)
    status = tmp_path / "state"
    result = ask(pins, "--flows", "-", "--hook", hook, "--state-dir", str(status), flows=lines)
    assert result.exit_code == 0, result.output
    offline = explain(cluster, tmp_path, SEED, hook)
    live = [json.loads(line) for line in result.stdout.splitlines()]
    # Without an agent's status nobody knows of health checks.
    assert live == [{**each, **_UNKNOWN} if each["verdict"] == "accept" else each for each in offline]
    assert "health checks are not known" in result.stderr


_UNKNOWN = {"verdict": "pass", "frontend": "", "service": "", "reason": "no Service claims this destination"}


def test_what_the_programs_have_written_down_is_shown(pins: Pins, cluster: Cluster, tmp_path: Path) -> None:
    flow = next(
        each
        for each, found in zip(cluster.flows, explain(cluster, tmp_path, SEED, "packet"), strict=True)
        if found["verdict"] == "forward" and each["proto"] == "TCP" and ":" not in each["to"]
    )
    write_flow(pins, flow)
    result = ask(pins, "--from", flow["from"], "--to", f"{flow['to']}:{flow['port']}/tcp", "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(row["source"], row["to_destination"]) for row in found["flows"]] == [
        (f"{flow['from']}:5000", "10.9.9.9:99")
    ]
    assert found["counters"] == {"flow_created": 0}
    assert {each["endpoint"] for each in found["endpoints"] if each["chosen"]} == set(found["backends"])
    text = ask(pins, "--from", flow["from"], "--to", f"{flow['to']}:{flow['port']}").stdout
    assert f"  {flow['from']}:5000 -> 10.9.9.9:99, " in text
    assert "flow_created 0, over all Services" in text
    assert "--manifests tells why not" in text


def write_flow(pins: Pins, flow: Manifest) -> None:
    """Write what a program would: half of a flow from port 5000, and one of somebody else's."""
    with JiffiesClock() as clock:
        now = clock.now_jiffies()
    with open_map(pins, Family.IPV4, "flows") as flows:
        keys, values = np.zeros(2, flows.layout.key), np.zeros(2, flows.layout.value)
        sources = (flow["from"], "100.64.77.77")
        keys["saddr"]["word"][:, 0] = [int(ip_address(text)) for text in sources]
        keys["daddr"]["word"][:, 0] = int(ip_address(flow["to"]))
        keys["sport"], keys["dport"], keys["protocol"] = 5000, flow["port"], Protocol.TCP
        values["to_daddr"]["word"][:, 0] = int(ip_address("10.9.9.9"))
        values["to_dport"], values["last_seen"], values["seen"] = 99, now, FlowSeen.SYN
        values["service_id"] = service_id(pins, flow)
        assert flows.update(keys, values) == []


def service_id(pins: Pins, flow: Manifest) -> int:
    with PinnedMapStore(pins, Family.IPV4) as store:
        tables = store.read()
    dialled = parse_address(flow["to"])
    keys = [FrontendKey(address, flow["port"], Protocol.TCP) for address in (dialled, bytes(4))]
    return next(tables.frontends[key].service_id for key in keys if key in tables.frontends)
