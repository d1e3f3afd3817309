"""The flow table: pairs made whole or not at all, source ports, and what fills it up. Whole rows are compared."""

import pytest

from ebpflb.core.abi import Counter, FlowFlag, FlowSeen, FrontendKind, Protocol
from tests.prog.harness import Hook
from tests.prog.lab import SNAT_PORTS, Lab, delivers, drops, forwards, hairpins
from tests.prog.rows import Flow, FlowKey
from tests.prog.services import Service
from tests.prog.wire import Wire

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
REQUEST = FlowFlag(0)
REPLY, EGRESS, FORWARD = FlowFlag.REPLY, FlowFlag.AT_EGRESS, FlowFlag.FORWARD
SNAT, HAIRPIN = FlowFlag.SNAT, FlowFlag.HAIRPIN
NOTHING = FlowSeen(0)
SYN, DATA, FIN, RST = FlowSeen.SYN, FlowSeen.DATA, FlowSeen.FIN, FlowSeen.RST


def service(backend: str) -> Service:
    return Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP)


def pair(lab: Lab, backend: str, client: str, source: str, flags: tuple[FlowFlag, FlowFlag]) -> dict[FlowKey, Flow]:
    """Return both rows of a flow of which only the first packet, a SYN or a datagram, was seen."""
    first = SYN if lab.protocol is Protocol.TCP else DATA
    target = f"{backend}:8080"
    return {
        lab.key(client, "cluster:80"): lab.flow(source, target, backend=backend, flags=flags[0], seen=first),
        lab.key(target, source): lab.flow("cluster:80", client, backend=backend, flags=flags[1], seen=NOTHING),
    }


def test_a_local_backend_keeps_the_client(lab: Lab) -> None:
    lab.load(service("pod"))
    lab.run(UPLINK, Wire("client:4000", "cluster:80"))
    assert lab.datapath.flows() == pair(lab, "pod", "client:4000", "client:4000", (REQUEST, REPLY | EGRESS))


def test_a_remote_backend_sees_the_node(lab: Lab) -> None:
    lab.load(service("remote"))
    lab.run(UPLINK, Wire("client:4000", "cluster:80"))
    flags = (FORWARD | SNAT, REPLY | FORWARD)
    assert lab.datapath.flows() == pair(lab, "remote", "client:4000", "node:4000", flags)


@pytest.mark.parametrize("backend", ["pod2", "remote"])
def test_a_pod_keeps_its_address(lab: Lab, backend: str) -> None:
    lab.load(service(backend))
    lab.run(POD, Wire("pod:4000", "cluster:80"))
    assert lab.datapath.flows() == pair(lab, backend, "pod:4000", "pod:4000", (REQUEST, REPLY | EGRESS))


def test_a_pod_that_reaches_itself_sees_the_hairpin_address(lab: Lab) -> None:
    lab.load(service("pod"))
    lab.run(POD, Wire("pod:4000", "cluster:80"))
    flags = (HAIRPIN | SNAT, REPLY | HAIRPIN)
    assert lab.datapath.flows() == pair(lab, "pod", "pod:4000", "hairpin:4000", flags)


def test_each_direction_notes_what_it_carried(tcp: Lab) -> None:
    tcp.load(service("pod"))
    request, reply = tcp.key("client:4000", "cluster:80"), tcp.key("pod:8080", "client:4000")
    story = [
        (UPLINK, "S", SYN, NOTHING),
        (OUT, "SA", SYN, DATA),
        (UPLINK, "A", SYN | DATA, DATA),
        (UPLINK, "PA", SYN | DATA, DATA),
        (OUT, "FA", SYN | DATA, DATA | FIN),
        (UPLINK, "FA", SYN | DATA | FIN, DATA | FIN),
        (UPLINK, "RA", SYN | DATA | FIN | RST, DATA | FIN),
        (OUT, "R", SYN | DATA | FIN | RST, DATA | FIN | RST),
    ]
    for hook, flags, sent, answered in story:
        ends = ("client:4000", "cluster:80") if hook is UPLINK else ("pod:8080", "client:4000")
        tcp.run(hook, Wire(*ends, flags=flags))
        flows = tcp.datapath.flows()
        assert (flows[request].seen, flows[reply].seen) == (sent, answered), flags


def test_datagrams_are_data_in_both_directions(udp: Lab) -> None:
    udp.load(service("pod"))
    udp.run(UPLINK, Wire("client:4000", "cluster:80"))
    udp.run(OUT, Wire("pod:8080", "client:4000"))
    assert [flow.seen for flow in udp.datapath.flows().values()] == [DATA, DATA]


def snat_port(lab: Lab, client: str) -> int:
    return lab.datapath.flows()[lab.key(client, "cluster:80")].to_sport


def test_a_second_client_with_the_same_port_gets_another(lab: Lab) -> None:
    lab.load(service("remote"))
    lab.play(forwards(Wire("client:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening())
    outcome = lab.run(UPLINK, Wire("client2:4000", "cluster:80"))
    port = snat_port(lab, "client2:4000")
    assert port in SNAT_PORTS
    assert outcome.frame == lab.frame(Wire(f"node:{port}", "remote:8080", ttl=63))
    lab.play(
        forwards(Wire("remote:8080", f"node:{port}", flags="SA"), Wire("cluster:80", "client2:4000", flags="SA")),
        forwards(Wire("remote:8080", "node:4000", flags="SA"), Wire("cluster:80", "client:4000", flags="SA")),
        forwards(
            Wire("client2:4000", "cluster:80", flags="A"), Wire(f"node:{port}", "remote:8080", flags="A")
        ).confirming(),
    )
    assert len(lab.datapath.flows()) == 4


def test_a_client_that_reaches_one_backend_by_two_frontends_gets_another_port(lab: Lab) -> None:
    lab.load(service("pod"), Service("external:80", ("pod",), FrontendKind.EXTERNAL_IP, id=2))
    lab.play(delivers(UPLINK, Wire("client:4000", "external:80"), Wire("client:4000", "pod:8080")).opening())
    lab.run(UPLINK, Wire("client:4000", "cluster:80"))
    port = snat_port(lab, "client:4000")
    assert port in SNAT_PORTS
    lab.play(
        delivers(OUT, Wire("pod:8080", f"client:{port}"), Wire("cluster:80", "client:4000")),
        delivers(OUT, Wire("pod:8080", "client:4000"), Wire("external:80", "client:4000")),
    )


def test_two_hairpins_with_the_same_port_get_two(lab: Lab) -> None:
    lab.load(service("pod"), Service("external:80", ("pod",), FrontendKind.EXTERNAL_IP, id=2))
    lab.play(hairpins(Wire("pod:4000", "external:80"), Wire("hairpin:4000", "pod:8080")).opening())
    lab.run(POD, Wire("pod:4000", "cluster:80"))
    port = snat_port(lab, "pod:4000")
    lab.play(hairpins(Wire("pod:8080", f"hairpin:{port}", flags="SA"), Wire("cluster:80", "pod:4000", flags="SA")))


def test_no_source_port_left(lab: Lab) -> None:
    lab.load(service("remote"))
    taken = lab.take_ports("remote", own_port=4000)
    lab.play(drops(UPLINK, Wire("client:4000", "cluster:80"), Counter.DROP_NO_SNAT_PORT))
    assert lab.datapath.flows() == taken


def test_a_port_that_nobody_confirmed_is_taken_over(lab: Lab) -> None:
    """A flood takes every port; new clients get through all the same, and who lost a port begins anew."""
    lab.load(service("remote"))
    lab.play(forwards(Wire("client2:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening())
    taken = lab.take_ports("remote", own_port=4000, name="pending")
    outcome = lab.run(UPLINK, Wire("client:4000", "cluster:80"))
    port = snat_port(lab, "client:4000")
    assert outcome.frame == lab.frame(Wire(f"node:{port}", "remote:8080", ttl=63))
    reply = lab.datapath.pending()[lab.key("remote:8080", f"node:{port}")]
    assert (reply.to_daddr, reply.to_dport) == lab.endpoint("client:4000")
    assert lab.key("remote:8080", f"node:{port}") in taken
    lab.play(
        forwards(Wire("remote:8080", f"node:{port}", flags="SA"), Wire("cluster:80", "client:4000", flags="SA")),
        forwards(
            Wire("client:4000", "cluster:80", flags="A"), Wire(f"node:{port}", "remote:8080", flags="A")
        ).confirming(),
    )
    robbed = lab.run(UPLINK, Wire("client2:4000", "cluster:80"))
    assert robbed.frame == lab.frame(Wire(f"node:{snat_port(lab, 'client2:4000')}", "remote:8080", ttl=63))
    assert snat_port(lab, "client2:4000") != port


def test_a_refusal_confirms_nothing(tcp: Lab) -> None:
    """A forged ACK draws a reset: two of them must not fill the table."""
    tcp.load(service("remote"))
    ack = forwards(Wire("client:4000", "cluster:80", flags="A"), Wire("node:4000", "remote:8080", flags="A"))
    refusal = forwards(Wire("remote:8080", "node:4000", flags="R"), Wire("cluster:80", "client:4000", flags="R"))
    tcp.play(ack.opening(), refusal, ack)
    assert not tcp.datapath.confirmed()


def test_the_port_search_covers_its_range(udp: Lab) -> None:
    udp.load(service("remote"))
    ports = range(5000, 5400)  # none of them in a tenth of the range: once in 10^18 times
    rival = udp.flow("cluster:80", "client2:9", backend="remote", flags=REPLY | FORWARD, seen=DATA)
    udp.datapath.put_flows({udp.key("remote:8080", f"node:{port}"): rival for port in ports})
    for port in ports:
        udp.run(UPLINK, Wire(f"client:{port}", "cluster:80"))
    flows = udp.datapath.flows()
    found = {flows[udp.key(f"client:{port}", "cluster:80")].to_sport for port in ports}
    assert len(found) == len(ports)
    assert found <= set(SNAT_PORTS)
    assert min(found) < SNAT_PORTS[len(SNAT_PORTS) // 10]
    assert max(found) > SNAT_PORTS[-len(SNAT_PORTS) // 10]


@pytest.mark.parametrize("room", [0, 1])
def test_a_full_table_confirms_no_flow_and_serves_it_all_the_same(lab: Lab, room: int) -> None:
    lab.load(service("remote"))
    fillers = lab.fill_flows(room)
    request = forwards(Wire("client:4001", "cluster:80", flags="A"), Wire("node:4001", "remote:8080", flags="A"))
    lab.play(
        forwards(Wire("client:4001", "cluster:80"), Wire("node:4001", "remote:8080")).opening(),
        forwards(Wire("remote:8080", "node:4001", flags="SA"), Wire("cluster:80", "client:4001", flags="SA")),
        request,
        request,
    )
    assert lab.datapath.confirmed().keys() == fillers.keys()
    assert len(lab.datapath.pending()) == 2


def test_a_confirmed_flow_leaves_the_pending_ones(lab: Lab) -> None:
    lab.load(service("remote"))
    lab.play(forwards(Wire("client:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening())
    rows = set(lab.datapath.pending())
    assert len(rows) == 2
    assert not lab.datapath.confirmed()
    lab.play(
        forwards(Wire("remote:8080", "node:4000", flags="SA"), Wire("cluster:80", "client:4000", flags="SA")),
        forwards(
            Wire("client:4000", "cluster:80", flags="A"), Wire("node:4000", "remote:8080", flags="A")
        ).confirming(),
    )
    assert set(lab.datapath.confirmed()) == rows
    assert not lab.datapath.pending()
