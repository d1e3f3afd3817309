"""``ebpflb explain`` from end to end over manifests: what a user types, and what is printed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ebpflb.cli import main
from tests.unit.cli.explain_manifests import write_shop


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> list[str]:
    return write_shop(tmp_path, clusterCIDR="10.244.0.0/16")


def explain(*arguments: str, flows: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], input=flows)


def text(shop: list[str], source: str, target: str, *more: str) -> str:
    result = explain(*shop, "--from", source, "--to", target, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    head, origin, *rest = result.stdout.splitlines(keepends=True)
    assert origin.startswith("according to  manifests in ")
    return head + "".join(rest)


def test_a_cluster_ip(shop: list[str]) -> None:
    assert text(shop, "10.244.1.9", "10.96.0.10:443/udp") == (
        "10.244.1.9 -> 10.96.0.10:443/UDP: FORWARD to 1 backend\n"
        "from          a pod: in 10.244.0.0/16\n"
        "frontend      ClusterIP 10.96.0.10:443/UDP\n"
        "service       shop/web, port quic\n"
        "policy        internalTrafficPolicy Cluster\n"
        "topology      hints for zone a\n"
        "chosen by     random, and a client stays with its own for 10800 s (sessionAffinity)\n"
        "backends      1 of 3\n"
        "  yes  10.244.1.5:8443  on n1\n"
        "  no   10.244.2.5:8443  on n2  hinted for zone b\n"
        "  no   10.244.2.6:8443  on n2  not ready\n"
        "masquerade    no: the source is a pod\n"
        "verdict       forward: every endpoint may serve\n"
    )


def test_who_is_not_let_in(shop: list[str]) -> None:
    assert text(shop, "100.64.0.9", "203.0.113.7:80") == (
        "100.64.0.9 -> 203.0.113.7:80/TCP: DROP\n"
        "from          neither a pod (not in 10.244.0.0/16) nor this node\n"
        "frontend      LoadBalancer 203.0.113.7:80/TCP\n"
        "service       shop/web, port http\n"
        "backends      0 of 3\n"
        "  no  10.244.1.5:8080  on n1  not asked for: the packet does not get that far\n"
        "  no  10.244.2.5:8080  on n2  not asked for: the packet does not get that far\n"
        "  no  10.244.2.6:8080  on n2  not asked for: the packet does not get that far\n"
        "verdict       drop: the source is in none of the Service's loadBalancerSourceRanges\n"
    )


def test_a_wrong_port(shop: list[str]) -> None:
    assert text(shop, "10.244.1.9", "10.96.0.10:8080") == (
        "10.244.1.9 -> 10.96.0.10:8080/TCP: REJECT\n"
        "from          a pod: in 10.244.0.0/16\n"
        "frontend      ClusterIP 10.96.0.10\n"
        "service       shop/web\n"
        "ports         443/UDP (quic), 80/TCP (http)\n"
        "verdict       reject: the Service of this ClusterIP has no such port\n"
    )


def test_an_unused_address(shop: list[str]) -> None:
    assert text(shop, "192.0.2.1", "10.96.0.11:80") == (
        "192.0.2.1 -> 10.96.0.11:80/TCP: DROP\n"
        "from          this node itself\n"
        "frontend      ServiceCIDR 10.96.0.0/12\n"
        "verdict       drop: the address is in a ServiceCIDR, and no Service has it\n"
    )


def test_a_destination_of_nobody(shop: list[str]) -> None:
    assert text(shop, "10.244.1.9", "8.8.8.8:53/udp") == (
        "10.244.1.9 -> 8.8.8.8:53/UDP: PASS\n"
        "from          a pod: in 10.244.0.0/16\n"
        "frontend      none\n"
        "verdict       pass: no Service claims this destination\n"
    )


def test_a_health_check(shop: list[str]) -> None:
    found = text(shop, "100.64.0.9", "192.0.2.1:32000")
    assert "frontend      health check 192.0.2.1:32000/TCP\nservice       shop/web\n" in found
    assert found.endswith("verdict       accept: the health-check server of the Service listens here\n")


@pytest.mark.parametrize(
    ("source", "target", "more", "lines"),
    [
        (
            "198.51.100.9",
            "203.0.113.7:80",
            [],
            [
                "source range  198.51.100.0/24",
                "policy        externalTrafficPolicy Local",
                "chosen by     maglev, and a client stays with its own for 10800 s (sessionAffinity)",
                "masquerade    no: the policy Local keeps the client's address",
            ],
        ),
        (
            "127.0.0.1",
            "127.0.0.1:30080",
            [],
            [
                "frontend      NodePort 127.0.0.1:30080/TCP",
                "policy        externalTrafficPolicy Local, which does not bind the node itself",
                "masquerade    yes: the node itself reaches every endpoint",
                "note          packets to loopback meet no packet hook: the socket hooks do it, and keep the source",
            ],
        ),
        (
            "10.244.2.9",
            "192.0.2.1:30080",
            [],
            [
                "policy        externalTrafficPolicy Local, which does not bind pods",
                "masquerade    no: a pod keeps its address",
            ],
        ),
        (
            "10.244.2.9",
            "192.0.2.1:30080",
            ["--hook", "socket"],
            [
                "policy        externalTrafficPolicy Local, which does not bind sockets of this node",
                "chosen by     random, and a client stays with its own for 10800 s (sessionAffinity)",
                "masquerade    no: the socket hooks keep the client's address",
            ],
        ),
        (
            "198.51.100.9",
            "203.0.113.7:80",
            ["--hook", "socket"],
            [
                "note          the packet hooks answer this: the socket hooks leave loadBalancerSourceRanges to them",
            ],
        ),
        (
            "10.244.1.5",
            "10.96.0.10:80",
            [],
            [
                "masquerade    yes: the only backend is the source itself",
                "verdict       forward: every endpoint may serve; the only backend is the source itself",
            ],
        ),
        ("100.64.0.9", "10.96.0.10:80", [], ["masquerade    yes: the source is no pod"]),
    ],
)
def test_the_lines_that_make_the_difference(
    shop: list[str], source: str, target: str, more: list[str], lines: list[str]
) -> None:
    found = text(shop, source, target, *more).splitlines()
    assert [line for line in lines if line not in found] == []


@pytest.mark.parametrize(
    ("config", "device", "lines"),
    [
        (
            {},
            None,
            ["from          not this node; pods are not told from others, since no network of theirs is configured"],
        ),
        ({}, None, ["masquerade    no: no network tells pods from others"]),
        ({"iptables": {"masqueradeAll": True}}, None, ["masquerade    yes: masqueradeAll"]),
        (
            {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}},
            "cni0",
            ["from          a pod: it comes in by cni0"],
        ),
        (
            {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}},
            "cni01",
            ["from          neither a pod (cni01 is no device of pods) nor this node"],
        ),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
            "veth12",
            ["from          a pod: it comes in by veth12"],
        ),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
            None,
            ["from          neither a pod (no pod of this node is known to have it) nor this node"],
        ),
    ],
)
def test_who_is_taken_for_a_pod(tmp_path: Path, config: dict[str, Any], device: str | None, lines: list[str]) -> None:
    more = ["--input-device", device] if device else []
    found = text(write_shop(tmp_path, **config), "100.64.0.9", "10.96.0.10:80", *more).splitlines()
    assert [line for line in lines if line not in found] == []


def test_a_pod_that_is_known_to_be_here(tmp_path: Path) -> None:
    config = {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}}
    found = text(write_shop(tmp_path, **config), "10.244.1.200", "10.96.0.10:80")
    assert "from          a pod: it is known to be on this node\n" in found


def test_the_whole_chain_as_a_document(shop: list[str]) -> None:
    arguments = [*shop, "--from", "198.51.100.9", "--to", "203.0.113.7:80"]
    result = explain(*arguments, "-o", "json")
    found = json.loads(result.stdout)
    assert found == yaml.safe_load(explain(*arguments, "-o", "yaml").stdout)
    assert found.pop("source").startswith("manifests in ")
    assert found == {
        "from": "198.51.100.9",
        "to": "203.0.113.7:80/TCP",
        "hook": "packet",
        "verdict": "forward",
        "backends": ["10.244.1.5:8080"],
        "masquerade": False,
        "frontend": "LoadBalancer 203.0.113.7:80/TCP",
        "service": "shop/web",
        "port_name": "http",
        "reason": "the policy Local lets endpoints of this node serve",
        "client": "other",
        "client_reason": "neither a pod (not in 10.244.0.0/16) nor this node",
        "ports": [],
        "policy": "externalTrafficPolicy Local",
        "set": "local",
        "prefix": "198.51.100.0/24",
        "algorithm": "maglev",
        "affinity_timeout_s": 10800,
        "topology": "",
        "endpoints": [
            {"endpoint": "10.244.1.5:8080", "node": "n1", "chosen": True, "reason": ""},
            {"endpoint": "10.244.2.5:8080", "node": "n2", "chosen": False, "reason": "not on this node: it is on n2"},
            {"endpoint": "10.244.2.6:8080", "node": "n2", "chosen": False, "reason": "not ready"},
        ],
        "masquerade_reason": "no: the policy Local keeps the client's address",
        "notes": [],
        "counters": {},
        "flows": [],
        "affinity": [],
        "sockets": [],
    }
    wrong_port = json.loads(explain(*shop, "--from", "10.244.1.9", "--to", "10.96.0.10:81", "-o", "json").stdout)
    assert (wrong_port["ports"], wrong_port["set"]) == (["443/UDP (quic)", "80/TCP (http)"], None)


def test_a_bad_line_is_answered_in_its_place(shop: list[str], tmp_path: Path) -> None:
    good = '{"from": "10.244.1.9", "to": "10.96.0.10", "port": 80, "proto": "TCP"}'
    flows = tmp_path / "flows"
    flows.write_text(f"{good}\n\n{good.replace('80', '99999')}\nnonsense\n{good}")
    result = explain(*shop, "--flows", str(flows))
    assert (result.exit_code, result.stderr) == (1, "")
    first, second, third, fourth = map(json.loads, result.stdout.splitlines())
    assert (
        first
        == fourth
        == {
            "verdict": "forward",
            "backends": ["10.244.1.5:8080"],
            "masquerade": False,
            "frontend": "ClusterIP 10.96.0.10:80/TCP",
            "service": "shop/web",
            "port_name": "http",
            "reason": "every endpoint may serve",
        }
    )
    assert second == {"error": "line 3: port: 99999 is not a port; give a port from 1 to 65535"}
    assert third["error"].startswith("line 4: flow: is not JSON: ")


def test_no_flows_are_no_error(shop: list[str]) -> None:
    assert explain(*shop, "--flows", "-", flows="").exit_code == 0


def test_the_bind_address_is_the_nodes_own_and_its_first(tmp_path: Path) -> None:
    told = write_shop(tmp_path, bindAddress="192.0.2.77")
    where = ("--from", "198.51.100.1", "--to")
    assert "FORWARD" in explain(*told, *where, "192.0.2.77:30080/tcp").output
    assert "PASS" in explain(*told, *where, "192.0.2.1:30080/tcp").output


def test_a_further_address_of_the_node(shop: list[str], tmp_path: Path) -> None:
    everywhere = write_shop(tmp_path, nodePortAddresses=["0.0.0.0/0"])
    flow = ["--from", "10.244.1.9", "--to", "192.0.2.200:30080"]
    assert "PASS" in explain(*everywhere, *flow).stdout
    assert (
        "FORWARD"
        in explain(*everywhere, *flow, "--node-address", "192.0.2.201", "--node-address", "192.0.2.200").stdout
    )
    assert "PASS" in explain(*shop[:4], *flow, "--node-address", "192.0.2.200").stdout, "primary only, by default"


def test_what_is_refused_is_said_on_stderr(shop: list[str], tmp_path: Path) -> None:
    specs = {"bad": {"clusterIP": "10.96.0.300"}, "twin": {"clusterIP": "10.96.0.10"}}
    with (tmp_path / "manifests.yaml").open("a") as file:
        for name, spec in specs.items():
            made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
            file.write("---\n" + yaml.safe_dump({**made, "spec": {**spec, "ports": [{"port": 80}]}}))
    result = explain(*shop, "--from", "10.244.1.9", "--to", "10.96.0.10:443/udp")
    assert result.exit_code == 0
    refused, doubled = result.stderr.splitlines()
    assert refused.startswith("ebpflb: Service default/bad: spec.clusterIP: '10.96.0.300' is not an IP address")
    assert doubled == (
        "ebpflb: Service shop/web: spec.clusterIPs: 10.96.0.10:80/TCP belongs to default/twin/TCP; "
        "give one of the two another address or port"
    )


def one(shop: list[str], line: str, *more: str) -> dict[str, Any]:
    result = explain(*shop, *more, "--flows", "-", flows=line)
    assert (result.exit_code, result.stderr) == (0, "")
    return dict(json.loads(result.stdout))


OF_THE_NODE = """---
apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: shop}
spec: {clusterIP: 10.96.0.20, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-1, namespace: shop, labels: {kubernetes.io/service-name: metrics}}
addressType: IPv4
ports: [{port: 9100}]
endpoints: [{addresses: [192.0.2.1], nodeName: n1}]
"""


def test_a_process_of_the_node_sees_the_client_and_answers_say_so(shop: list[str], tmp_path: Path) -> None:
    with (tmp_path / "manifests.yaml").open("a") as file:
        file.write(OF_THE_NODE)
    found = one(shop, '{"from": "100.64.0.9", "to": "10.96.0.20", "port": 80}')
    assert found["masquerade"]
    own = "192.0.2.1:9100 is this node itself"
    assert found["reason"] == f"every endpoint may serve; {own}, and sees the source address"
    shown = text(shop, "100.64.0.9", "10.96.0.20:80")
    assert f"note          {own}: what is delivered there keeps its source address all the same\n" in shown
    kept = one(shop, '{"from": "10.244.1.9", "to": "10.96.0.20", "port": 80}')
    assert (kept["masquerade"], kept["reason"]) == (False, "every endpoint may serve")


NOT_TO_ITSELF = "note          10.244.1.5:8080 is the source itself: towards it the source address is replaced"


@pytest.mark.parametrize(
    ("source", "target", "is_said"),
    [("10.244.1.5", "10.96.0.10:80", True), ("10.244.1.9", "10.96.0.10:80", False)],
)
def test_one_backend_of_several_is_the_source(
    shop: list[str], tmp_path: Path, source: str, target: str, is_said: bool
) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(manifests.read_text().replace("hints: {forZones: [{name: b}]}", ""))
    found = text(shop, source, target).splitlines()
    assert "FORWARD to 2 backends" in found[0]
    assert (NOT_TO_ITSELF in found) is is_said


@pytest.mark.parametrize("device", [[], ["--input-device", "eth0"], ["--input-device", "veth1"]])
@pytest.mark.parametrize("mode", ["ClusterCIDR", "NodeCIDR"])
def test_a_device_s_name_tells_nothing_where_networks_do(tmp_path: Path, mode: str, device: list[str]) -> None:
    config = {"detectLocalMode": mode, "clusterCIDR": "10.244.0.0/16", "ebpflb": {"forwarding": "dsr"}}
    shop = write_shop(tmp_path, **config)
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(manifests.read_text().replace("externalTrafficPolicy: Local", ""))
    found = text(shop, "198.51.100.9", "203.0.113.7:80", *device)
    assert "masquerade    no: backends on other nodes answer the client directly (DSR)\n" in found
    assert "masquerade    yes: externalTrafficPolicy Cluster\n" in text(shop, "10.244.1.9", "192.0.2.1:30080", *device)


def test_a_node_that_dials_an_address_of_its_own(shop: list[str], tmp_path: Path) -> None:
    flow = ("192.0.2.1", "203.0.113.7:80", "--hook", "socket")
    assert "DROP" in text(shop, *flow)
    refused = text(shop, *flow, "--node-address", "203.0.113.7").splitlines()
    assert refused[0] == "192.0.2.1 -> 203.0.113.7:80/TCP: REJECT"
    assert refused[-1].startswith(
        "verdict       reject: dialled by the node that has it, the address is its own source"
    )
    assert not [line for line in refused if line.startswith("policy")]
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(manifests.read_text().replace("198.51.100.0/24", "203.0.113.0/24"))
    served = text(shop, *flow, "--node-address", "203.0.113.7").splitlines()
    assert served[0] == "192.0.2.1 -> 203.0.113.7:80/TCP: FORWARD to 1 backend"
    assert "source range  203.0.113.0/24" in served
    assert "masquerade    no: the socket hooks keep the client's address" in served
    assert served[-1] == (
        "note          the node dials an address of its own, so the source that the ranges are asked for is that one"
    )


@pytest.mark.parametrize("name", ["N1", " n1 "])
def test_the_node_s_name_in_any_case_and_with_blanks(shop: list[str], name: str) -> None:
    shop[shop.index("--node") + 1] = name
    assert "FORWARD" in text(shop, "10.244.1.9", "10.96.0.10:80")


def test_fields_that_nobody_knows_are_said_on_stderr(tmp_path: Path) -> None:
    shop = write_shop(tmp_path, clusterCidr="10.244.0.0/16", featureGates={"Nonsense": True}, mode="ipvs")
    result = explain(*shop, "--from", "10.244.1.9", "--to", "10.96.0.10:80")
    assert (result.exit_code, "from          not this node; pods are not told" in result.stdout) == (0, True)
    lenient, gate = result.stderr.splitlines()
    assert lenient.startswith(
        f"ebpflb: config_lenient file='{tmp_path}/config.yaml' unknown='clusterCidr (is clusterCIDR"
    )
    assert gate == "ebpflb: feature_gate_unknown name='Nonsense'"


FLOW = ["--from", "10.0.0.2", "--to", "10.96.0.10:53/udp"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give --from and --to, or --flows; see `ebpflb explain --help`"),
        (["--from", "10.0.0.2"], "give --from and --to, or --flows; see `ebpflb explain --help`"),
        ([*FLOW, "--flows", "-"], "give --from and --to, or --flows, not both; see `ebpflb explain --help`"),
        (
            [*FLOW, "--node", "n1"],
            "--node, --node-address and --config go with --manifests; see `ebpflb explain --help`",
        ),
        (
            [*FLOW, "--manifests", "."],
            "--manifests needs --node: each node has its own answers; see `ebpflb explain --help`",
        ),
        (
            [*FLOW, "--manifests", ".", "--node", "n1", "--node-address", "x"],
            "--node-address: 'x' is not an IP address; give an IPv4 or IPv6 address without zone or prefix length",
        ),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], line: str) -> None:
    result = explain(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"ebpflb: {line}\n")


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("x", "10.96.0.10:53", "--from: 'x' is not an IP address; "),
        ("10.0.0.2", "10.96.0.10", "--to: '10.96.0.10' is not an address with a port; write it as 10.96.0.10:53/udp"),
        ("fd00::1", "10.96.0.10:53", "--from: is IPv6, and to is IPv4; "),
        ("10.0.0.2", "10.96.0.10:77777", "--to: 77777 is not a port; "),
        ("10.0.0.2", "10.96.0.10:53/dns", "--to: 'DNS' is not known; use one of TCP, UDP, SCTP"),
    ],
)
def test_a_flow_that_is_none(shop: list[str], source: str, target: str, words: str) -> None:
    result = explain(*shop, "--from", source, "--to", target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"ebpflb: {words}")


def test_a_configuration_that_is_none(shop: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("kind: Pod")
    result = explain(*shop, *FLOW)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "config.yaml" in result.stderr


def test_maps_are_closed_to_others_than_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = explain(*FLOW)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("ebpflb: explain needs root")
