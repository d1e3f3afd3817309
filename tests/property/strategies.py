"""Random snapshots from a small universe: few names, addresses and ports, so that they meet and collide often."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from ebpflb.core.abi import Algorithm, Family, Protocol
from ebpflb.core.holdings import Limits
from ebpflb.core.model import (
    Device,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Host,
    Node,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceType,
    Snapshot,
)
from ebpflb.core.options import PRIMARY, DetectLocal, Forwarding, Options

NODES = ("n1", "n2", "n3")
ZONES = ("", "z1", "z2")
NAMESPACES = ("blue", "red")
NAMES = ("a", "b", "c")
PORT_NAMES = ("", "http")
ROOMY = Limits(
    frontends=4096, backends=4096, services=4096, slots=1 << 18, members=4096, local_backends=4096, source_ranges=4096
)

families = st.sampled_from((*[Family.IPV4] * 4, Family.IPV6))
names = st.sampled_from(NAMES)
mostly = st.sampled_from((True, True, True, False))
nearly_always = st.sampled_from((*[True] * 9, False))
protocols = st.sampled_from((Protocol.TCP, Protocol.TCP, Protocol.UDP, Protocol.SCTP))


def addresses(family: Family, prefix: int, count: int = 6) -> st.SearchStrategy[bytes]:
    """Addresses of one family; prefixes keep frontends and backends apart."""
    filler = bytes(family.address_bytes - 2)
    return st.integers(1, count).map(lambda host: bytes([prefix]) + filler + bytes([host]))


def either_family(prefix: int) -> st.SearchStrategy[bytes]:
    return families.flatmap(lambda family: addresses(family, prefix))


options = st.builds(
    Options,
    forwarding=st.sampled_from(Forwarding),
    masquerade_all=st.booleans(),
    detect_local=st.sampled_from(DetectLocal),
    cluster_cidrs=st.sampled_from(((), ("30.0.0.0/8",), ("1e00::/8", "30.0.0.0/8"), ("1e00::/8",))),
    pod_interface=st.sampled_from(("cni0", "veth")),
    node_port_addresses=st.sampled_from(
        (
            *((), (), (PRIMARY,), ("40.0.0.0/29",), ("2800::/16", "40.0.0.1/32"), ("20.0.0.0/8", "0.0.0.0/0")),
            *(("127.0.0.1/32",), ("::1/128", "30.0.0.0/8"), ("2800::1/128",)),
        )
    ),
    localhost_node_ports=st.booleans(),
    node_ips=st.lists(either_family(40), max_size=2).map(tuple),
)
source_ranges = st.lists(
    st.sampled_from(
        # The first two hold the nodes' own addresses; the last three are no ranges.
        ("40.0.0.0/8", "2800::/8", "192.0.2.0/24", " 192.0.2.7/24", "fd00::/8", "everybody", "192.0.2.0/99", "::/x")
    ),
    min_size=1,
    max_size=3,
).map(tuple)
service_ports = st.lists(
    st.builds(
        ServicePort,
        name=st.sampled_from(PORT_NAMES),
        protocol=protocols,
        port=st.sampled_from((53, 80)),
        node_port=st.sampled_from((0, 30000, 30001)),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


@st.composite
def services(draw: st.DrawFn, namespace: str, name: str) -> Service:
    dual = draw(st.tuples(addresses(Family.IPV4, 10), addresses(Family.IPV6, 10)))
    external = st.lists(either_family(20), max_size=2).map(tuple)
    return Service(
        namespace=namespace,
        name=name,
        type=draw(st.sampled_from((*[*ServiceType][:3] * 3, ServiceType.EXTERNAL_NAME))),
        ports=draw(service_ports),
        cluster_ips=draw(st.sampled_from((dual, dual, dual[::-1], dual[:1], dual[:1], dual[1:], ()))),
        external_ips=draw(external),
        load_balancer_ips=draw(external),
        source_ranges=draw(st.just(()) | source_ranges),
        internal_local=draw(st.booleans()),
        external_local=draw(st.booleans()),
        affinity_timeout_s=draw(st.sampled_from((0, 60))),
        algorithm=draw(st.sampled_from((None, Algorithm.RANDOM, Algorithm.MAGLEV))),
        forwarding=draw(st.sampled_from(("", "", "", "snat", "dsr", "tunnel"))),
    )


def endpoints(family: Family) -> st.SearchStrategy[Endpoint]:
    return st.builds(
        Endpoint,
        address=addresses(family, 30) | addresses(family, 30) | either_family(30),
        ready=mostly,
        serving=mostly,
        terminating=mostly.map(lambda usual: not usual),
        node_name=st.sampled_from(("", *NODES)),
        for_nodes=st.lists(st.sampled_from(NODES), max_size=2).map(tuple),
        for_zones=st.lists(st.sampled_from(ZONES[1:]), max_size=2).map(tuple),
    )


@st.composite
def slices(draw: st.DrawFn, number: int, owners: Sequence[Service]) -> EndpointSlice:
    """A slice of one of the services; most of its ports are the service's, some are nobody's."""
    owner = draw(st.sampled_from(owners))
    family = draw(families)
    matching = [EndpointPort(port.name, port.protocol, draw(st.sampled_from((8053, 8080)))) for port in owner.ports]
    stray = st.builds(EndpointPort, name=st.sampled_from(PORT_NAMES), protocol=protocols, port=st.just(9090))
    return EndpointSlice(
        namespace=owner.namespace,
        name=f"slice-{number}",
        service_name=owner.name if draw(mostly) else "stray",
        family=family,
        ports=tuple(port for port in matching if draw(mostly)) + tuple(draw(st.lists(stray, max_size=1))),
        endpoints=draw(st.lists(endpoints(family), min_size=1, max_size=4).map(tuple)),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    keys = draw(st.sets(st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(NAMES)), min_size=1, max_size=4))
    owners = {key: draw(services(*key)) for key in sorted(keys)}
    listed = [draw(slices(number, tuple(owners.values()))) for number in range(draw(st.integers(1, 5)))]
    host_addresses = st.frozensets(either_family(40) | either_family(30) | either_family(20), max_size=4)
    devices = st.lists(
        st.builds(
            Device,
            ifindex=st.integers(1, 4),
            name=st.sampled_from(("eth", "cni0", "veth1")),
            addresses=st.lists(either_family(40), max_size=2).map(tuple),
            supports_xdp=st.booleans(),
            serves_pods=st.booleans(),
            master=st.sampled_from(("", "", "cni0", "veth0")),
        ),
        max_size=3,
        unique_by=lambda device: device.ifindex,
    )
    cidrs = st.lists(st.sampled_from(("10.0.0.0/24", "10.0.0.0/30", "0a00::/112", "11.0.0.0/8")), max_size=2)
    return Snapshot(
        node=Node(
            draw(st.sampled_from(("", *NODES))),
            draw(st.sampled_from(ZONES)),
            draw(st.lists(either_family(40) | either_family(41), max_size=3).map(tuple)),
            draw(st.sampled_from(((), ("30.0.0.0/30", "1e00::/126"), ("1e00::/127",)))),
        ),
        services=owners,
        slices={each.key: each for each in draw(st.permutations(listed))},
        host=Host(draw(host_addresses), tuple(draw(devices)), draw(st.frozensets(st.integers(1, 3)))),
        service_cidrs={
            each.key: each for each in draw(st.lists(st.builds(ServiceCIDR, names, cidrs.map(tuple)), max_size=2))
        },
    )


@st.composite
def successors(draw: st.DrawFn, snapshot: Snapshot) -> Snapshot:
    """The same cluster a little later: Services go or change, endpoints come, go and change their conditions."""
    kept = {key: service for key, service in snapshot.services.items() if draw(nearly_always)}
    changed = {key: service if draw(nearly_always) else draw(services(*service.key)) for key, service in kept.items()}
    moved = {}
    for key, each in snapshot.slices.items():
        stay = tuple(one for one in each.endpoints if draw(mostly))
        turned = tuple(one if draw(mostly) else replace(one, ready=False, terminating=True) for one in stay)
        more = tuple(draw(st.lists(endpoints(each.family), max_size=2)))
        moved[key] = replace(each, endpoints=turned + more)
    return replace(snapshot, services=changed, slices=moved)


@st.composite
def lives(draw: st.DrawFn) -> list[Snapshot]:
    """A cluster over time, now and then as it was before."""
    life = [draw(snapshots())]
    for _ in range(draw(st.integers(2, 5))):
        life.append(draw(successors(life[-1])) if draw(mostly) else draw(st.sampled_from(life)))
    return life


limits = st.builds(
    Limits,
    frontends=st.integers(0, 16),
    backends=st.integers(0, 8),
    services=st.integers(0, 8),
    slots=st.sampled_from((0, 16, 40, 320, 600, 1 << 12)),
    members=st.integers(0, 12),
    local_backends=st.integers(0, 6),
    source_ranges=st.integers(0, 8),
)
