"""The decision table of packets, row by row, over tables made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    ConfigFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.explain import Client, Decision, Flow, Hook, Reason, Verdict, client_of, decide
from ebpflb.core.explain_index import HealthServer, Index
from ebpflb.core.model import format_endpoint, parse_address
from ebpflb.core.tables import (
    CONFIG_KEY,
    EMPTY_RANGE,
    Backend,
    BackendKey,
    ConfigRow,
    Frontend,
    FrontendKey,
    Prefix,
    Range,
    SourceRangeKey,
    Tables,
)

CLUSTER, LOCAL, SELF = Range(16, 3), Range(16, 1), Range(32, 1)
HERE, THERE = "10.244.1.5", "10.244.2.5"
POD, NODE, OTHER = "10.244.1.9", "192.0.2.1", "198.51.100.9"
HAS, IS_LOCAL, RANGES = FrontendFlag.HAS_BACKENDS, FrontendFlag.LOCAL_POLICY, FrontendFlag.SOURCE_RANGES
NETWORK, DEVICE = ConfigFlag.DETECT_BY_NETWORK, ConfigFlag.DETECT_BY_DEVICE
ALL, LOOPBACK = ConfigFlag.MASQUERADE_ALL, ConfigFlag.LOOPBACK_NODE_PORTS

KINDS = {
    "10.96.0.1": FrontendKind.CLUSTER_IP,
    "203.0.113.1": FrontendKind.LOAD_BALANCER,
    "198.18.0.1": FrontendKind.EXTERNAL_IP,
    "0.0.0.0": FrontendKind.NODE_PORT,
}


def prefix(text: str) -> Prefix:
    address, _, length = text.partition("/")
    return Prefix(parse_address(address), int(length))


def backend(ip: str, *, local: bool = False) -> Backend:
    flags = BackendFlag.LOCAL if local else BackendFlag(0)
    return Backend(BackendKey(parse_address(ip), 8080, Protocol.TCP), BackendState.ACTIVE, flags, 1)


def frontend(
    kind: FrontendKind, flags: FrontendFlag = HAS, cluster: Range = CLUSTER, local: Range = EMPTY_RANGE
) -> Frontend:
    return Frontend(1, kind, Algorithm.RANDOM, flags, 0, cluster, local)


def address_row(flags: FrontendFlag) -> Frontend:
    return Frontend(0, FrontendKind.ADDRESS, Algorithm.RANDOM, flags, 0, EMPTY_RANGE, EMPTY_RANGE)


def tables(
    flags: FrontendFlag = HAS,
    config: ConfigFlag = NETWORK | LOOPBACK,
    *,
    cluster: Range = CLUSTER,
    local: Range = EMPTY_RANGE,
    protocol: Protocol = Protocol.TCP,
    **rest: Any,
) -> Tables:
    """Service shop/web, dialled as all that it can be, with the same flags and sets everywhere."""
    rows = {
        FrontendKey(parse_address(ip), 30080 if ip == "0.0.0.0" else 80, protocol): frontend(
            kind, flags, cluster, local
        )
        for ip, kind in KINDS.items()
    }
    rows[FrontendKey(parse_address("10.96.0.1"), 0, Protocol.ANY)] = address_row(FrontendFlag.CLUSTER_ADDRESS)
    for ip in ("203.0.113.1", "10.96.0.99"):
        rows[FrontendKey(parse_address(ip), 0, Protocol.ANY)] = address_row(HAS)
    made = Tables(
        Family.IPV4,
        frontends=rows,
        backends={1: backend(HERE, local=True), 2: backend(THERE), 3: backend("10.244.2.6")},
        services={1: "shop/web:http/TCP"},
        node_addrs={
            parse_address(NODE): NodeAddrFlag.NODE_PORTS,
            parse_address("192.0.2.2"): NodeAddrFlag(0),
        },
        service_cidrs={prefix("10.96.0.0/16"): 0},
        config={CONFIG_KEY: ConfigRow(config, prefix("10.244.0.0/16"), prefix("10.96.0.0/15"))},
        slots={
            CLUSTER: np.array([2, 1, 3], np.uint32),
            LOCAL: np.array([1], np.uint32),
            SELF: np.array([1], np.uint32),
        },
    )
    return replace(made, **rest)


def ask(made: Tables, source: str, target: str, hook: Hook = Hook.PACKET, **rest: Any) -> Decision:
    address, _, port = target.partition(":")
    flow = Flow(parse_address(source), parse_address(address), int(port), rest.pop("protocol", Protocol.TCP), **rest)
    listening = HealthServer("shop/web", frozenset([parse_address(NODE)]))
    everywhere = HealthServer("shop/web", frozenset([bytes(4)]))
    return decide(Index(made, {32000: listening, 32001: everywhere}), flow, hook)


def backends(decision: Decision) -> list[str]:
    return [format_endpoint(each.key.address, each.key.port) for each in decision.backends]


EVERY = ["10.244.1.5:8080", "10.244.2.5:8080", "10.244.2.6:8080"]
MINE = ["10.244.1.5:8080"]
EXTERNAL = ["203.0.113.1:80", "198.18.0.1:80", "192.0.2.1:30080"]


@pytest.mark.parametrize(
    ("source", "config", "masquerade"),
    [
        (POD, NETWORK, False),
        (OTHER, NETWORK, True),
        (NODE, NETWORK, True),
        (POD, NETWORK | ALL, True),
        (OTHER, ConfigFlag(0), False),
        (OTHER, ALL, True),
        (OTHER, DEVICE, True),
    ],
)
def test_cluster_ip_is_masqueraded_for_who_is_no_pod(source: str, config: ConfigFlag, masquerade: bool) -> None:
    found = ask(tables(config=config), source, "10.96.0.1:80")
    assert (found.verdict, found.reason) == (Verdict.FORWARD, Reason.CLUSTER_SET)
    assert (backends(found), found.masquerade) == (EVERY, masquerade)
    assert (found.service, found.port_name) == ("shop/web", "http")


@pytest.mark.parametrize("source", [POD, NODE, OTHER])
def test_internal_policy_local_binds_everybody(source: str) -> None:
    some = ask(tables(HAS | IS_LOCAL, local=LOCAL), source, "10.96.0.1:80")
    assert (some.verdict, backends(some), some.is_local_set) == (Verdict.FORWARD, MINE, True)
    none = ask(tables(HAS | IS_LOCAL), source, "10.96.0.1:80")
    assert (none.verdict, none.reason, none.is_local_set) == (Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS, True)


@pytest.mark.parametrize("target", EXTERNAL)
@pytest.mark.parametrize("source", [POD, NODE, OTHER])
def test_external_policy_cluster_masquerades_everybody(source: str, target: str) -> None:
    found = ask(tables(), source, target)
    assert (found.verdict, backends(found), found.masquerade) == (Verdict.FORWARD, EVERY, True)


@pytest.mark.parametrize("target", EXTERNAL)
@pytest.mark.parametrize(
    ("source", "reason", "chosen", "masquerade"),
    [
        (POD, Reason.SHORT_CUT_POD, EVERY, False),
        (NODE, Reason.SHORT_CUT_NODE, EVERY, True),
        (OTHER, Reason.LOCAL_SET, MINE, False),
    ],
)
def test_external_policy_local(target: str, source: str, reason: Reason, chosen: list[str], masquerade: bool) -> None:
    found = ask(tables(HAS | IS_LOCAL, local=LOCAL), source, target)
    assert (found.verdict, found.reason) == (Verdict.FORWARD, reason)
    assert (backends(found), found.masquerade) == (chosen, masquerade)


@pytest.mark.parametrize("target", EXTERNAL)
def test_external_policy_local_without_any_here(target: str) -> None:
    made = tables(HAS | IS_LOCAL)
    assert ask(made, OTHER, target).verdict is Verdict.DROP
    assert ask(made, POD, target).verdict is Verdict.FORWARD
    without_detector = replace(made, config={})
    assert ask(without_detector, POD, target).verdict is Verdict.DROP


@pytest.mark.parametrize("target", ["10.96.0.1:80", *EXTERNAL])
@pytest.mark.parametrize("hook", Hook)
@pytest.mark.parametrize("flags", [FrontendFlag(0), IS_LOCAL])
def test_without_endpoints_it_is_rejected(target: str, hook: Hook, flags: FrontendFlag) -> None:
    found = ask(tables(flags, cluster=EMPTY_RANGE), OTHER, target, hook)
    assert (found.verdict, found.reason) == (Verdict.REJECT, Reason.NO_ENDPOINTS)


@pytest.mark.parametrize("target", ["10.96.0.1:80", *EXTERNAL])
def test_hairpin(target: str) -> None:
    found = ask(tables(cluster=SELF), HERE, target)
    assert (found.masquerade, found.is_hairpin, backends(found)) == (True, True, MINE)
    among_others = ask(tables(), HERE, "10.96.0.1:80")
    assert (among_others.masquerade, among_others.is_hairpin) == (False, False)


@pytest.mark.parametrize(
    ("source", "by_pod_device", "masquerade"),
    [
        (OTHER, None, False),
        (POD, None, False),
        (POD, True, True),
        (HERE, None, True),
        (HERE, False, True),
        (NODE, None, True),
    ],
)
def test_direct_answers_need_the_clients_address(source: str, by_pod_device: bool | None, masquerade: bool) -> None:
    made = tables(HAS | FrontendFlag.DSR)
    found = ask(made, source, "203.0.113.1:80", by_pod_device=by_pod_device)
    assert (found.masquerade, found.is_direct) == (masquerade, not masquerade)


def test_a_pod_elsewhere_that_is_the_only_backend_is_answered_directly() -> None:
    made = tables(HAS | FrontendFlag.DSR, cluster=SELF)
    far = replace(made, slots={SELF: np.array([2], np.uint32)})
    assert (ask(far, THERE, "203.0.113.1:80").masquerade, ask(far, THERE, "203.0.113.1:80").is_hairpin) == (False, True)
    assert ask(made, HERE, "203.0.113.1:80").masquerade, "a pod of this node is answered through it"


def test_a_node_address_among_those_of_pods_is_not_answered_directly() -> None:
    made = tables(HAS | FrontendFlag.DSR, node_addrs={parse_address(POD): NodeAddrFlag.NODE_PORTS})
    found = ask(made, POD, "203.0.113.1:80")
    assert (found.client, found.masquerade, found.is_direct) == (Client.POD, True, False)


@pytest.mark.parametrize("hook", Hook)
def test_source_ranges_come_first(hook: Hook) -> None:
    rows = {
        SourceRangeKey(1, parse_address("198.51.100.0"), 24): 0,
        SourceRangeKey(1, parse_address("198.51.0.0"), 16): 0,
    }
    made = tables(HAS | RANGES, source_ranges=rows)
    let_in = ask(made, OTHER, "203.0.113.1:80", hook)
    assert (let_in.verdict, let_in.prefix, let_in.masquerade) == (Verdict.FORWARD, prefix("198.51.100.0/24"), True)
    for blocked in (made, tables(RANGES, cluster=EMPTY_RANGE, source_ranges=rows), tables(HAS | RANGES)):
        found = ask(blocked, POD, "203.0.113.1:80", hook)
        assert (found.verdict, found.reason, found.hook) == (Verdict.DROP, Reason.SOURCE_RANGE, Hook.PACKET)


BALANCER = "203.0.113.1"


@pytest.mark.parametrize("source", [NODE, BALANCER, "127.0.0.1"])
def test_a_node_that_dials_an_address_of_its_own_is_decided_at_the_socket(source: str) -> None:
    own = {parse_address(ip): NodeAddrFlag.NODE_PORTS for ip in (NODE, BALANCER)}
    rows = {SourceRangeKey(1, parse_address(BALANCER), 32): 0}
    let_in = ask(tables(HAS | RANGES, node_addrs=own, source_ranges=rows), source, "203.0.113.1:80", Hook.SOCKET)
    assert (let_in.verdict, let_in.hook, let_in.masquerade) == (Verdict.FORWARD, Hook.SOCKET, False)
    assert let_in.prefix == prefix("203.0.113.1/32")
    rows = {SourceRangeKey(1, parse_address(NODE), 32): 0}
    refused = ask(tables(HAS | RANGES, node_addrs=own, source_ranges=rows), source, "203.0.113.1:80", Hook.SOCKET)
    assert (refused.verdict, refused.reason, refused.hook) == (Verdict.REJECT, Reason.OWN_SOURCE_RANGE, Hook.SOCKET)


def test_only_the_node_itself_and_only_at_its_own_address_is_decided_at_the_socket() -> None:
    rows = {SourceRangeKey(1, parse_address(NODE), 32): 0}
    not_its_own = tables(HAS | RANGES, source_ranges=rows)
    own = replace(not_its_own, node_addrs={parse_address(ip): NodeAddrFlag(0) for ip in (NODE, BALANCER)})
    for made, source, hook, verdict in (
        (not_its_own, NODE, Hook.SOCKET, Verdict.FORWARD),
        (own, POD, Hook.SOCKET, Verdict.DROP),
        (own, NODE, Hook.PACKET, Verdict.FORWARD),
    ):
        found = ask(made, source, "203.0.113.1:80", hook)
        assert (found.verdict, found.hook) == (verdict, Hook.PACKET)
    sctp = replace(tables(HAS | RANGES, protocol=Protocol.SCTP, source_ranges=rows), node_addrs=own.node_addrs)
    found = ask(sctp, NODE, "203.0.113.1:80", Hook.SOCKET, protocol=Protocol.SCTP)
    assert (found.verdict, found.hook) == (Verdict.FORWARD, Hook.PACKET)


def test_socket_hooks_never_masquerade_and_never_stay_silent() -> None:
    for target in ("10.96.0.1:80", *EXTERNAL):
        found = ask(tables(), OTHER, target, Hook.SOCKET)
        assert (found.verdict, found.masquerade, found.hook) == (Verdict.FORWARD, False, Hook.SOCKET)
    assert not ask(tables(cluster=SELF), HERE, "10.96.0.1:80", Hook.SOCKET).masquerade
    silent = ask(tables(HAS | IS_LOCAL), POD, "10.96.0.1:80", Hook.SOCKET)
    assert (silent.verdict, silent.reason) == (Verdict.REJECT, Reason.NO_LOCAL_ENDPOINTS)
    external = ask(tables(HAS | IS_LOCAL), OTHER, "192.0.2.1:30080", Hook.SOCKET)
    assert (external.verdict, external.reason, backends(external)) == (
        Verdict.FORWARD,
        Reason.SHORT_CUT_SOCKET,
        EVERY,
    )


def test_socket_hooks_leave_sctp_to_the_packet_hooks() -> None:
    found = ask(tables(protocol=Protocol.SCTP), OTHER, "10.96.0.1:80", Hook.SOCKET, protocol=Protocol.SCTP)
    assert (found.hook, found.masquerade) == (Hook.PACKET, True)


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        (OTHER, "192.0.2.1:30080", Verdict.FORWARD),
        (OTHER, "192.0.2.2:30080", Verdict.PASS),
        (OTHER, "192.0.2.3:30080", Verdict.PASS),
        (OTHER, "192.0.2.1:30081", Verdict.PASS),
        (NODE, "127.0.0.1:30080", Verdict.FORWARD),
        ("127.0.0.1", "127.9.9.9:30080", Verdict.FORWARD),
        ("127.0.0.1", "0.0.0.0:30080", Verdict.FORWARD),
        ("127.0.0.1", "127.0.0.1:80", Verdict.PASS),
        (POD, "127.0.0.1:30080", Verdict.PASS),
        (OTHER, "0.0.0.0:30080", Verdict.PASS),
    ],
)
def test_where_node_ports_hold(source: str, target: str, verdict: Verdict) -> None:
    assert ask(tables(), source, target).verdict is verdict


def test_node_ports_on_loopback() -> None:
    found = ask(tables(HAS | IS_LOCAL), "127.0.0.1", "127.0.0.1:30080")
    assert (found.client, found.masquerade, backends(found)) == (Client.NODE, True, EVERY)
    assert ask(tables(config=NETWORK), "127.0.0.1", "127.0.0.1:30080").verdict is Verdict.PASS


def test_an_address_of_a_service_comes_before_a_node_port() -> None:
    made = tables()
    key = FrontendKey(parse_address(NODE), 30080, Protocol.TCP)
    made = replace(made, frontends={**made.frontends, key: frontend(FrontendKind.EXTERNAL_IP, cluster=SELF)})
    assert backends(ask(made, OTHER, "192.0.2.1:30080")) == MINE


@pytest.mark.parametrize(
    ("target", "protocol", "verdict", "reason"),
    [
        ("10.96.0.1:81", Protocol.TCP, Verdict.REJECT, Reason.WRONG_PORT),
        ("10.96.0.1:80", Protocol.UDP, Verdict.REJECT, Reason.WRONG_PORT),
        ("10.96.0.2:80", Protocol.TCP, Verdict.DROP, Reason.UNUSED_ADDRESS),
        ("10.96.0.99:80", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),  # a load balancer's, of whatever range
        ("10.97.0.1:80", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),  # within the guard, in no range
        ("203.0.113.1:81", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),
        ("198.18.0.1:81", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),
        ("192.0.2.1:32000", Protocol.TCP, Verdict.ACCEPT, Reason.HEALTH_CHECK),
        ("192.0.2.1:32000", Protocol.UDP, Verdict.PASS, Reason.NOT_CLAIMED),
        ("192.0.2.2:32000", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),
        ("127.0.0.1:32000", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),
        ("192.0.2.2:32001", Protocol.TCP, Verdict.ACCEPT, Reason.HEALTH_CHECK),
        ("192.0.2.3:32001", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),
        ("127.0.0.1:32001", Protocol.TCP, Verdict.PASS, Reason.NOT_CLAIMED),  # another's loopback
    ],
)
@pytest.mark.parametrize("hook", Hook)
def test_what_no_frontend_claims(target: str, protocol: Protocol, verdict: Verdict, reason: Reason, hook: Hook) -> None:
    found = ask(tables(), OTHER, target, hook, protocol=protocol)
    assert (found.verdict, found.reason, found.masquerade) == (verdict, reason, False)
    claimed = reason in {Reason.WRONG_PORT, Reason.HEALTH_CHECK}
    assert found.service == ("shop/web" if claimed else "")
    assert found.prefix == (prefix("10.96.0.0/16") if reason is Reason.UNUSED_ADDRESS else None)


@pytest.mark.parametrize("hook", Hook)
def test_an_address_of_the_node_in_a_service_cidr_is_its_own(hook: Hook) -> None:
    own = {parse_address(ip): NodeAddrFlag(0) for ip in ("10.96.0.1", "10.96.0.2")}
    found = ask(tables(node_addrs=own), OTHER, "10.96.0.2:80", hook)
    assert (found.verdict, found.reason) == (Verdict.PASS, Reason.NOT_CLAIMED)
    assert ask(tables(node_addrs=own), OTHER, "10.96.0.3:80", hook).verdict is Verdict.DROP
    assert ask(tables(node_addrs=own), OTHER, "10.96.0.1:81", hook).verdict is Verdict.REJECT


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        ("127.0.0.1", "127.0.0.1:32001", Verdict.ACCEPT),
        (NODE, "127.0.0.1:32001", Verdict.ACCEPT),
        ("127.0.0.1", "0.0.0.0:32001", Verdict.ACCEPT),
        ("127.0.0.1", "127.0.0.1:32000", Verdict.PASS),
    ],
)
def test_who_listens_everywhere_listens_on_loopback(source: str, target: str, verdict: Verdict) -> None:
    assert ask(tables(), source, target).verdict is verdict


def test_tables_without_a_configuration_guard_nothing() -> None:
    made = tables(config=ConfigFlag(0))
    assert ask(replace(made, config={}), OTHER, "10.96.0.1:81").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("config", "source", "by_pod_device", "client"),
    [
        (NETWORK, POD, None, Client.POD),
        (NETWORK, POD, False, Client.POD),
        (NETWORK, OTHER, True, Client.OTHER),
        (NETWORK, "127.0.0.1", None, Client.NODE),
        (DEVICE, HERE, None, Client.POD),  # a backend on this node
        (DEVICE, POD, None, Client.POD),  # in a network of this node's pods
        (DEVICE, THERE, None, Client.OTHER),
        (DEVICE, THERE, True, Client.POD),
        (DEVICE, HERE, False, Client.OTHER),
        (DEVICE, NODE, None, Client.NODE),
        (ConfigFlag(0), POD, True, Client.OTHER),
        (ConfigFlag(0), NODE, None, Client.NODE),
    ],
)
def test_who_sends(config: ConfigFlag, source: str, by_pod_device: bool | None, client: Client) -> None:
    index = Index(tables(config=config), pods_here=[prefix("10.244.1.0/24"), prefix("192.0.2.1/32")])
    flow = Flow(parse_address(source), parse_address("10.96.0.1"), 80, Protocol.TCP, by_pod_device)
    assert client_of(index, flow) is client


def test_what_the_detector_takes_for_a_pod_is_one_though_it_is_the_nodes() -> None:
    made = tables(HAS | IS_LOCAL, node_addrs={parse_address(POD): NodeAddrFlag.NODE_PORTS})
    found = ask(made, POD, "203.0.113.1:80")
    assert (found.client, found.masquerade) == (Client.POD, False)


def test_ipv6_loopback() -> None:
    key = FrontendKey(bytes(16), 30080, Protocol.TCP)
    made = Tables(
        Family.IPV6,
        frontends={key: frontend(FrontendKind.NODE_PORT, cluster=EMPTY_RANGE)},
        config={CONFIG_KEY: ConfigRow(LOOPBACK, Prefix(bytes(16), 0), Prefix(bytes(16), 128))},
    )
    for ip in ("::1", "::"):
        flow = Flow(parse_address("::1"), parse_address(ip), 30080, Protocol.TCP)
        assert decide(Index(made), flow).reason is Reason.NO_LOCAL_ENDPOINTS
    other = Flow(parse_address("::1"), parse_address("::2"), 30080, Protocol.TCP)
    assert decide(Index(made), other).verdict is Verdict.PASS


def test_a_backend_without_a_row_is_none() -> None:
    found = ask(tables(backends={1: backend(HERE)}), OTHER, "10.96.0.1:80")
    assert (found.verdict, backends(found)) == (Verdict.FORWARD, MINE)
    nobody = ask(tables(slots={}, services={}), OTHER, "10.96.0.1:80")
    assert (backends(nobody), nobody.is_hairpin, nobody.service) == ([], False, "")
