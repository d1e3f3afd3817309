"""What becomes of each new flow: the rows of the decision table, on the tables that go into the maps."""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Protocol
from ebpflb.core.explain import Hook
from ebpflb.core.options import DetectLocal, Options
from tests.unit.core.cluster import (
    BOTH,
    CLUSTER_IP,
    DETECTOR,
    EXTERNAL_IP,
    FAR_POD,
    HERE,
    LOCAL,
    NODE,
    NODE_IP,
    NOWHERE,
    ONLY_REMOTE,
    OTHER_NODE_IP,
    OUTSIDE,
    POD,
    REMOTE,
    VIP,
    Answer,
    Cluster,
    endpoint,
    endpoint_slice,
    everywhere,
    service,
    service_cidr,
)

TO_CLUSTER_IP = (CLUSTER_IP, 80)
EXTERNAL = {"NodePort": (NODE_IP, 30080), "load balancer": (VIP, 80), "external IP": (EXTERNAL_IP, 80)}
EVERYWHERE = {"ClusterIP": TO_CLUSTER_IP, **EXTERNAL}
EVERYBODY = {"pod": POD, "pod elsewhere": FAR_POD, "node": NODE_IP, "outside": OUTSIDE}
ALL, HERE_ONLY = tuple(sorted((f"{LOCAL}:8080", f"{REMOTE}:8080"))), (f"{LOCAL}:8080",)
POLICIES = ("Cluster", "Local")
NO_DETECTOR = Options()
MASQUERADE_ALL = replace(DETECTOR, masquerade_all=True)
REJECT, DROP, PASS = Answer("reject"), Answer("drop"), Answer("pass")


def forward(backends: tuple[str, ...] = ALL, *, masquerade: bool = False) -> Answer:
    return Answer("forward", backends, masquerade)


# -- any destination -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", EVERYBODY)
@pytest.mark.parametrize("to", EVERYWHERE)
@pytest.mark.parametrize("policy", POLICIES)
def test_without_any_endpoint_everybody_is_rejected(policy: str, to: str, source: str) -> None:
    cluster = Cluster.of(everywhere(internalTrafficPolicy=policy, externalTrafficPolicy=policy), NOWHERE)
    assert cluster.ask(EVERYBODY[source], *EVERYWHERE[to]) == REJECT


@pytest.mark.parametrize("source", EVERYBODY)
def test_a_source_that_the_ranges_leave_out_is_dropped_first_of_all(source: str) -> None:
    for slices in (NOWHERE, ONLY_REMOTE, BOTH):
        cluster = Cluster.of(everywhere(loadBalancerSourceRanges=["198.18.0.0/15"]), slices)
        assert cluster.ask(EVERYBODY[source], VIP) == DROP
        assert cluster.ask("198.18.0.1", VIP).verdict != "drop"


@pytest.mark.parametrize("to", [name for name in EVERYWHERE if name != "load balancer"])
def test_source_ranges_bind_no_other_address(to: str) -> None:
    cluster = Cluster.of(everywhere(loadBalancerSourceRanges=["198.18.0.0/15"]), BOTH)
    assert cluster.ask(OUTSIDE, *EVERYWHERE[to]).verdict == "forward"


# -- ClusterIP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "masqueraded"),
    [
        pytest.param(NO_DETECTOR, set(), id="no detector: nobody"),
        pytest.param(DETECTOR, {"node", "outside"}, id="a detector: who is no pod"),
        pytest.param(replace(NO_DETECTOR, masquerade_all=True), set(EVERYBODY), id="masqueradeAll: everybody"),
        pytest.param(MASQUERADE_ALL, set(EVERYBODY), id="masqueradeAll and a detector: everybody"),
        pytest.param(
            replace(NO_DETECTOR, cluster_cidrs=("fd00::/16",)), set(), id="a detector of the other family: nobody"
        ),
        pytest.param(
            replace(NO_DETECTOR, detect_local=DetectLocal.NODE_CIDR),
            {"pod elsewhere", "node", "outside"},
            id="by the node's pod network: pods elsewhere as well",
        ),
    ],
)
@pytest.mark.parametrize(("policy", "backends"), [("Cluster", ALL), ("Local", HERE_ONLY)])
def test_a_cluster_ip_leads_to_its_set_and_hides_who_is_no_pod(
    policy: str, backends: tuple[str, ...], options: Options, masqueraded: set[str]
) -> None:
    node = replace(NODE, pod_cidrs=("10.244.1.0/24",))
    cluster = Cluster.of(everywhere(internalTrafficPolicy=policy), BOTH, node=node, options=options)
    for name, source in EVERYBODY.items():
        assert cluster.ask(source, *TO_CLUSTER_IP) == forward(backends, masquerade=name in masqueraded)


@pytest.mark.parametrize("source", EVERYBODY)
def test_a_cluster_ip_of_policy_local_without_local_endpoints_drops(source: str) -> None:
    cluster = Cluster.of(everywhere(internalTrafficPolicy="Local"), ONLY_REMOTE)
    assert cluster.ask(EVERYBODY[source], *TO_CLUSTER_IP) == DROP


# -- NodePort, load balancer, external IP ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [NO_DETECTOR, DETECTOR, MASQUERADE_ALL], ids=["no detector", "detector", "all"])
@pytest.mark.parametrize("source", EVERYBODY)
@pytest.mark.parametrize("to", EXTERNAL)
def test_policy_cluster_takes_everybody_everywhere_masqueraded(to: str, source: str, options: Options) -> None:
    cluster = Cluster.of(everywhere(), BOTH, options=options)
    assert cluster.ask(EVERYBODY[source], *EXTERNAL[to]) == forward(masquerade=True)


@pytest.mark.parametrize("to", EXTERNAL)
@pytest.mark.parametrize(
    ("source", "with_local", "without_local"),
    [
        pytest.param(POD, forward(), forward((f"{REMOTE}:8080",)), id="a pod: short-circuit, as it is"),
        pytest.param(FAR_POD, forward(), forward((f"{REMOTE}:8080",)), id="by ClusterCIDR also a pod elsewhere"),
        pytest.param(
            NODE_IP,
            forward(masquerade=True),
            forward((f"{REMOTE}:8080",), masquerade=True),
            id="the node itself: everywhere, masqueraded",
        ),
        pytest.param(OUTSIDE, forward(HERE_ONLY), DROP, id="others: local and as they are, else DROP"),
    ],
)
def test_policy_local_binds_who_comes_from_outside(
    to: str, source: str, with_local: Answer, without_local: Answer
) -> None:
    web = everywhere(externalTrafficPolicy="Local")
    for options in (DETECTOR, MASQUERADE_ALL):
        assert Cluster.of(web, BOTH, options=options).ask(source, *EXTERNAL[to]) == with_local
        assert Cluster.of(web, ONLY_REMOTE, options=options).ask(source, *EXTERNAL[to]) == without_local


@pytest.mark.parametrize("to", EXTERNAL)
def test_without_a_detector_a_pod_is_a_client_like_any_other(to: str) -> None:
    web = everywhere(externalTrafficPolicy="Local")
    assert Cluster.of(web, BOTH, options=NO_DETECTOR).ask(POD, *EXTERNAL[to]) == forward(HERE_ONLY)
    assert Cluster.of(web, ONLY_REMOTE, options=NO_DETECTOR).ask(POD, *EXTERNAL[to]) == DROP


def test_each_policy_is_deaf_to_the_other_s_traffic() -> None:
    internal = Cluster.of(everywhere(internalTrafficPolicy="Local"), ONLY_REMOTE)
    for to in EXTERNAL.values():
        assert internal.ask(OUTSIDE, *to).verdict == "forward"
    external = Cluster.of(everywhere(externalTrafficPolicy="Local"), ONLY_REMOTE)
    assert external.ask(POD, *TO_CLUSTER_IP) == forward((f"{REMOTE}:8080",))


# -- hairpin ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", EVERYWHERE)
@pytest.mark.parametrize("policy", POLICIES)
def test_who_reaches_itself_is_masqueraded(policy: str, to: str) -> None:
    """Under policy Cluster an external frontend masquerades anyhow; else only whoever is its own backend."""
    web = everywhere(internalTrafficPolicy=policy, externalTrafficPolicy=policy)
    alone = Cluster.of(web, endpoint_slice(endpoint(LOCAL, HERE)))
    assert alone.ask(LOCAL, *EVERYWHERE[to]) == forward(HERE_ONLY, masquerade=True)
    neighbour = alone.ask(POD, *EVERYWHERE[to])
    assert neighbour == forward(HERE_ONLY, masquerade=policy == "Cluster" and to != "ClusterIP")


# -- where the socket hooks differ -----------------------------------------------------------------------------------


@pytest.mark.parametrize("to", EVERYWHERE)
def test_sockets_keep_their_source(to: str) -> None:
    for policy in POLICIES:
        cluster = Cluster.of(everywhere(internalTrafficPolicy=policy, externalTrafficPolicy=policy), BOTH)
        assert not cluster.ask(POD, *EVERYWHERE[to], hook=Hook.SOCKET).masquerade


def test_a_socket_hears_at_once_that_its_local_set_is_empty() -> None:
    cluster = Cluster.of(everywhere(internalTrafficPolicy="Local"), ONLY_REMOTE)
    assert cluster.ask(POD, *TO_CLUSTER_IP, hook=Hook.SOCKET) == REJECT
    assert cluster.ask(POD, *TO_CLUSTER_IP, hook=Hook.PACKET) == DROP


# -- what no Service claims ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", EVERYBODY.values())
@pytest.mark.parametrize(
    ("to", "port", "protocol", "expected"),
    [
        pytest.param(CLUSTER_IP, 81, Protocol.TCP, REJECT, id="another port of a ClusterIP"),
        pytest.param(CLUSTER_IP, 80, Protocol.UDP, REJECT, id="another protocol of a ClusterIP"),
        pytest.param(CLUSTER_IP, 30080, Protocol.TCP, REJECT, id="the NodePort of a ClusterIP"),
        pytest.param("10.96.9.9", 80, Protocol.TCP, DROP, id="an unused address of a ServiceCIDR"),
        pytest.param("10.97.0.1", 80, Protocol.TCP, PASS, id="an address of no ServiceCIDR"),
        pytest.param(VIP, 81, Protocol.TCP, PASS, id="another port of a load-balancer address"),
        pytest.param(EXTERNAL_IP, 81, Protocol.TCP, PASS, id="another port of an external IP"),
        pytest.param(NODE_IP, 80, Protocol.TCP, PASS, id="another port of the node"),
        pytest.param(NODE_IP, 30080, Protocol.UDP, PASS, id="another protocol of a NodePort"),
        pytest.param(OTHER_NODE_IP, 30080, Protocol.TCP, PASS, id="a NodePort of another node"),
        pytest.param(LOCAL, 8080, Protocol.TCP, PASS, id="a pod by its own address"),
    ],
)
def test_what_no_service_claims(to: str, port: int, protocol: Protocol, expected: Answer, source: str) -> None:
    cluster = Cluster.of(everywhere(), BOTH, service_cidr("10.96.0.0/16", "fd00:96::/108"))
    assert cluster.ask(source, to, port, protocol) == expected


def test_without_service_cidrs_nothing_is_dropped_for_its_address() -> None:
    cluster = Cluster.of(everywhere(), service(name="other", clusterIP="10.96.255.254"), BOTH)
    assert cluster.ask(POD, "10.96.9.9") == PASS
    assert cluster.ask(POD, CLUSTER_IP, 81) == REJECT


def test_a_service_s_own_addresses_come_before_its_node_port() -> None:
    """A load balancer may hand a Service the node's address, and then the NodePort's number means its own port."""
    shadow = everywhere(
        ports=[{"name": "http", "port": 30081, "nodePort": 30080}], externalIPs=[NODE_IP], externalTrafficPolicy="Local"
    )
    other = service(
        name="other", type="NodePort", clusterIP="10.96.0.2", ports=[{"name": "http", "port": 80, "nodePort": 30081}]
    )
    cluster = Cluster.of(shadow, other, BOTH)
    assert cluster.ask(OUTSIDE, NODE_IP, 30081) == forward(HERE_ONLY)
