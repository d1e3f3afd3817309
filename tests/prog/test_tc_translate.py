"""Every translation with its reply, as rows: services, packets in order, verdict and whole packet for each."""

from collections.abc import Callable, Iterator

import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from tests.prog.harness import Hook
from tests.prog.lab import Lab, Row, Step, delivers, forwards, hairpins, params, passes
from tests.prog.services import Service
from tests.prog.wire import Wire, payload_with_checksum
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
CLUSTER_IP = Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP)
ROUTER_ALERT = bytes([148, 4, 0, 0])  # RFC 2113
IPV4 = (Family.IPV4,)
DIALLED = {
    "a NodePort": (Service("any:30080"), "node:30080"),
    "an external IP": (Service("external:80", kind=FrontendKind.EXTERNAL_IP), "external:80"),
    "a load-balancer IP": (Service("balancer:80", kind=FrontendKind.LOAD_BALANCER), "balancer:80"),
    "a ClusterIP": (Service("cluster:80", kind=FrontendKind.CLUSTER_IP), "cluster:80"),
}


def local_from_outside(frontend: str) -> tuple[Step, ...]:
    """The client's address stays; the stack delivers and routes the reply, which is restored at egress."""
    reply = Wire("pod:8080", "client:4000", flags="SA")
    return (
        delivers(UPLINK, Wire("client:4000", frontend), Wire("client:4000", "pod:8080")).opening(),
        passes(OUT, Wire("client:4000", "pod:8080", ttl=63)),
        passes(POD, reply),
        delivers(OUT, reply.with_ttl(63), Wire(frontend, "client:4000", flags="SA", ttl=63)),
        delivers(
            UPLINK, Wire("client:4000", frontend, flags="A"), Wire("client:4000", "pod:8080", flags="A")
        ).confirming(),
        delivers(UPLINK, Wire("client:4000", frontend, flags="PA"), Wire("client:4000", "pod:8080", flags="PA")),
    )


def remote_from_outside(frontend: str) -> tuple[Step, ...]:
    """The node's address stands in for the client's, and its port if it is free."""
    return (
        forwards(Wire("client:4000", frontend), Wire("node:4000", "remote:8080")).opening(),
        passes(OUT, Wire("node:4000", "remote:8080", ttl=63)),
        forwards(Wire("remote:8080", "node:4000", flags="SA"), Wire(frontend, "client:4000", flags="SA")),
        passes(OUT, Wire(frontend, "client:4000", flags="SA", ttl=63)),
        forwards(Wire("client:4000", frontend, flags="A"), Wire("node:4000", "remote:8080", flags="A")).confirming(),
        forwards(Wire("client:4000", frontend, flags="PA"), Wire("node:4000", "remote:8080", flags="PA")),
    )


def from_a_pod(frontend: str, backend: str) -> tuple[Step, ...]:
    """A pod keeps its address: the way back leads through its device."""
    reply = Wire(f"{backend}:8080", "pod:4000", flags="SA")
    return (
        delivers(POD, Wire("pod:4000", frontend), Wire("pod:4000", f"{backend}:8080")).opening(),
        passes(POD if backend == "pod2" else UPLINK, reply),
        delivers(OUT, reply.with_ttl(63), Wire(frontend, "pod:4000", flags="SA", ttl=63)),
        delivers(
            POD, Wire("pod:4000", frontend, flags="FA"), Wire("pod:4000", f"{backend}:8080", flags="FA")
        ).confirming(),
    )


def from_a_pod_masqueraded(frontend: str) -> tuple[Step, ...]:
    """Frontends for clients outside hide a pod as well: the way back leads through the node."""
    return (
        forwards(Wire("pod:4000", frontend), Wire("node:4000", "remote:8080"), POD).opening(),
        passes(OUT, Wire("node:4000", "remote:8080", ttl=63)),
        forwards(Wire("remote:8080", "node:4000", flags="SA"), Wire(frontend, "pod:4000", flags="SA")),
        passes(OUT, Wire(frontend, "pod:4000", flags="SA", ttl=63)),
        forwards(Wire("pod:4000", frontend, flags="A"), Wire("node:4000", "remote:8080", flags="A"), POD).confirming(),
    )


def hairpin(frontend: str) -> tuple[Step, ...]:
    """A pod that reaches itself sees a stranger, and gets every packet back with the MAC addresses swapped."""
    return (
        hairpins(Wire("pod:4000", frontend), Wire("hairpin:4000", "pod:8080")).opening(),
        passes(OUT, Wire("hairpin:4000", "pod:8080", swapped=True)),
        hairpins(Wire("pod:8080", "hairpin:4000", flags="SA"), Wire(frontend, "pod:4000", flags="SA")),
        passes(OUT, Wire(frontend, "pod:4000", flags="SA", swapped=True)),
        hairpins(Wire("pod:4000", frontend, flags="A"), Wire("hairpin:4000", "pod:8080", flags="A")).confirming(),
    )


def with_backend(service: Service, backend: str) -> tuple[Service, ...]:
    return (Service(service.frontend, (backend,), service.kind),)


def rows_by_frontend() -> Iterator[Row]:
    for name, (service, dialled) in DIALLED.items():
        local, remote = with_backend(service, "pod"), with_backend(service, "remote")
        yield Row(f"{name} from outside, local backend", local, local_from_outside(dialled))
        yield Row(f"{name} from outside, remote backend", remote, remote_from_outside(dialled))
        yield Row(f"{name} from a pod, another pod here", with_backend(service, "pod2"), from_a_pod(dialled, "pod2"))
        is_cluster_ip = service.kind is FrontendKind.CLUSTER_IP
        steps = from_a_pod(dialled, "remote") if is_cluster_ip else from_a_pod_masqueraded(dialled)
        yield Row(f"{name} from a pod, remote backend", remote, steps)
        yield Row(f"{name} from a pod, the same pod", local, hairpin(dialled))


ROWS = (
    *rows_by_frontend(),
    Row(
        "an address of the node that is also a load-balancer IP is the load balancer's",
        (
            Service("any:30080", ("pod",)),
            Service("node:30080", ("pod2",), FrontendKind.LOAD_BALANCER, id=2),
        ),
        (delivers(UPLINK, Wire("client:4000", "node:30080"), Wire("client:4000", "pod2:8080")).opening(),),
    ),
    Row(
        "a NodePort holds on addresses of this node only",
        (Service("any:30080", ("pod",)),),
        (passes(UPLINK, Wire("client:4000", "external:30080")),),
    ),
    Row(
        "another port of a Service's address is not the Service's",
        (Service("external:80", ("pod",), FrontendKind.EXTERNAL_IP),),
        (passes(UPLINK, Wire("client:4000", "external:81")),),
    ),
    Row(
        "an empty payload",
        (CLUSTER_IP,),
        (
            delivers(
                UPLINK,
                Wire("client:4000", "cluster:80", payload=b""),
                Wire("client:4000", "pod:8080", payload=b""),
            ).opening(),
        ),
    ),
    Row(
        "a payload of odd length that fills the MTU",
        (Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP),),
        (
            forwards(
                Wire("client:4000", "cluster:80", payload=b"\xff" * 1439),
                Wire("node:4000", "remote:8080", payload=b"\xff" * 1439),
            ).opening(),
        ),
    ),
    Row(
        "IPv4 options survive, delivered and restored",
        (CLUSTER_IP,),
        (
            delivers(
                UPLINK,
                Wire("client:4000", "cluster:80", options=ROUTER_ALERT * 10),
                Wire("client:4000", "pod:8080", options=ROUTER_ALERT * 10),
            ).opening(),
            delivers(
                OUT,
                Wire("pod:8080", "client:4000", flags="SA", options=ROUTER_ALERT),
                Wire("cluster:80", "client:4000", flags="SA", options=ROUTER_ALERT),
            ),
        ),
        families=IPV4,
    ),
    Row(
        "IPv4 options survive, forwarded",
        (Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP),),
        (
            forwards(
                Wire("client:4000", "cluster:80", options=ROUTER_ALERT),
                Wire("node:4000", "remote:8080", options=ROUTER_ALERT),
            ).opening(),
        ),
        families=IPV4,
    ),
    Row(
        "UDP without a checksum stays without",
        (Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP),),
        (
            forwards(
                Wire("client:4000", "cluster:80", no_checksum=True),
                Wire("node:4000", "remote:8080", no_checksum=True),
            ).opening(),
            forwards(
                Wire("remote:8080", "node:4000", no_checksum=True),
                Wire("cluster:80", "client:4000", no_checksum=True),
            ),
        ),
        families=IPV4,
        protocols=(Protocol.UDP,),
    ),
    Row(
        "the TTL that is just enough",
        (Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP),),
        (
            forwards(Wire("client:4000", "cluster:80", ttl=2), Wire("node:4000", "remote:8080")).opening(),
            forwards(Wire("client:4000", "cluster:80", ttl=255), Wire("node:4000", "remote:8080")),
        ),
    ),
    Row(
        "two devices, each masquerades with its own address",
        (
            Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP),
            Service("external:80", ("bare",), FrontendKind.EXTERNAL_IP, id=2),
        ),
        (
            forwards(Wire("client:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening(),
            forwards(Wire("client:4000", "external:80"), Wire("balancer:4000", "bare:8080")).opening(),
        ),
        devices={Device.UPLINK: "node", Device.BARE: "balancer"},
    ),
)


@pytest.mark.parametrize(("row", "family", "protocol"), params(ROWS))
def test_translation(lab_of: Callable[[Family, Protocol], Lab], row: Row, family: Family, protocol: Protocol) -> None:
    lab_of(family, protocol).play_row(row)


EDGES = [
    (Protocol.TCP, 0x0000),  # the sum of all ones; legal in TCP, "none" in UDP
    (Protocol.TCP, 0x0001),
    (Protocol.TCP, 0xFFFE),
    (Protocol.UDP, 0xFFFF),  # what UDP writes for zero
    (Protocol.UDP, 0x0001),
    (Protocol.UDP, 0xFFFE),
]


@pytest.mark.parametrize(("protocol", "checksum"), EDGES)
@pytest.mark.parametrize("side", ["in", "out"])
def test_checksums_at_the_edges(
    lab_of: Callable[[Family, Protocol], Lab], family: Family, protocol: Protocol, checksum: int, side: str
) -> None:
    lab = lab_of(family, protocol)
    lab.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    dialled, translated = Wire("client:4000", "cluster:80"), Wire("node:4000", "remote:8080")
    payload = payload_with_checksum(checksum, dialled if side == "in" else translated.with_ttl(63), family, protocol)
    request, out = (Wire(wire.src, wire.dst, payload=payload) for wire in (dialled, translated))
    lab.play(forwards(request, out).opening())
