"""A small cluster for the tests of the reconcile layer: a clock that stands still, objects, and a loop over fakes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from ebpflb.core.abi import BackendState, Family, FrontendFlag, FrontendKind, Protocol
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
    format_address,
)
from ebpflb.core.tables import Backend, BackendKey, FrontendKey, MemberKey, Range, Tables
from ebpflb.reconcile.believed import Vanished
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.fake import FakeMapStore
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.ports import Kind
from ebpflb.reconcile.settings import Settings
from ebpflb.reconcile.status import Status

START = datetime(2026, 1, 1, tzinfo=UTC)
NODE = Node(name="node-1", addresses=(bytes([192, 168, 0, 1]),))
HOST = Host(addresses=frozenset({bytes([192, 168, 0, 1])}), devices=(Device(2, "uplink", (bytes([192, 168, 0, 1]),)),))


class StandingClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.seconds, wall=lambda: START.timestamp() + self.seconds - 1000.0)


def service(
    name: str, number: int = 1, *, node_port: int = 0, affinity_timeout_s: int = 0, accepts: Iterable[int] = ()
) -> Service:
    """``accepts``: it has a load-balancer address for clients in 192.0.<number>.0/24, and answers them directly."""
    ranges = tuple(f"192.0.{third}.0/24" for third in accepts)
    simple_type = ServiceType.NODE_PORT if node_port else ServiceType.CLUSTER_IP
    return Service(
        namespace="default",
        name=name,
        type=ServiceType.LOAD_BALANCER if ranges else simple_type,
        ports=(ServicePort("http", Protocol.TCP, 80, node_port),),
        cluster_ips=(bytes([10, 96, 0, number]),),
        load_balancer_ips=(bytes([203, 0, 113, number]),) if ranges else (),
        source_ranges=ranges,
        affinity_timeout_s=affinity_timeout_s,
        forwarding="dsr" if ranges else "",
    )


def endpoint_slice(
    name: str, pods: Iterable[int], *, local: Iterable[int] = (), terminating: Iterable[int] = ()
) -> EndpointSlice:
    """Pods are 10.0.0.<number>; those in ``local`` run on the own node."""
    here, leaving = set(local), set(terminating)
    endpoints = tuple(
        Endpoint(
            address=bytes([10, 0, 0, pod]),
            ready=pod not in leaving,
            terminating=pod in leaving,
            node_name=NODE.name if pod in here else "node-2",
        )
        for pod in pods
    )
    ports = (EndpointPort("http", Protocol.TCP, 8080),)
    return EndpointSlice("default", f"{name}-abc", name, Family.IPV4, ports, endpoints)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a source lists."""

    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    service_cidrs: tuple[ServiceCIDR, ...] = ()

    def deliver(self, inbox: Inbox) -> None:
        inbox.host(HOST)
        inbox.replace(Kind.NODE, [NODE])
        inbox.replace(Kind.SERVICE, self.services)
        inbox.replace(Kind.ENDPOINT_SLICE, self.slices)
        inbox.replace(Kind.SERVICE_CIDR, self.service_cidrs)


@dataclass(slots=True)
class Agent:
    """One run of the control plane over a store; another one over the same store is a restart."""

    store: FakeMapStore
    time: StandingClock = field(default_factory=StandingClock)
    announced: list[Mapping[int, Backend]] = field(default_factory=list)
    lost_members: list[frozenset[MemberKey]] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    inbox: Inbox = field(init=False)
    loop: ReconcileLoop = field(init=False)

    def __post_init__(self) -> None:
        self.inbox = Inbox(NODE.name, self.time.clock())
        self.loop = ReconcileLoop(
            {self.store.family: self.store},
            self.inbox,
            NODE.name,
            on_applied=self.on_applied,
            on_status=self.statuses.append,
            clock=self.time.clock(),
            settings=Settings(grace_s=10, comparison_period_s=600),
        )

    def on_applied(self, family: Family, tables: Tables, vanished: Vanished) -> None:
        assert family is self.store.family
        assert meaning(tables) == meaning(self.store.read())
        self.announced.append(vanished.backends)
        self.lost_members.append(vanished.members)

    def apply(self, cluster: Cluster) -> None:
        """Deliver, let the batch complete, and run one round."""
        cluster.deliver(self.inbox)
        self.time.advance(0.01)
        self.loop.step()

    @property
    def status(self) -> Status:
        return self.statuses[-1]


class Meaning(NamedTuple):
    """What a frontend does, whatever ids and positions it uses."""

    service: str
    """Empty: an address as such."""
    flags: FrontendFlag
    cluster: tuple[BackendKey, ...]
    local: tuple[BackendKey, ...]


def meaning(tables: Tables) -> dict[FrontendKey, Meaning]:
    """Follow every frontend to its backends. Fails when one is not there, or when its service has no name."""

    def backends(span: Range) -> tuple[BackendKey, ...]:
        if not span.length:
            return ()
        whole = next(known for known in sorted(tables.slots, reverse=True) if known.offset == span.offset)
        rows = [tables.backends[backend_id] for backend_id in tables.slots[whole][: span.length].tolist()]
        assert all(row.state is not BackendState.NONE for row in rows)
        return tuple(row.key for row in rows)

    return {
        key: Meaning(
            "" if frontend.kind is FrontendKind.ADDRESS else tables.services[frontend.service_id],
            frontend.flags,
            backends(frontend.cluster),
            backends(frontend.local),
        )
        for key, frontend in tables.frontends.items()
    }


def accepted(tables: Tables) -> dict[str, set[str]]:
    """The source ranges of each service port."""
    found: dict[str, set[str]] = {name: set() for name in tables.services.values()}
    for key in tables.source_ranges:
        if key.service_id in tables.services:
            found[tables.services[key.service_id]].add(f"{format_address(key.address)}/{key.prefix_length}")
    return found


def unwrapped(tables: Tables) -> list[tuple[bytes, BackendKey]]:
    """Where packets that other nodes send whole to a pod's address go. Fails when a backend is not there."""
    return [(key.address, tables.backends[number].key) for key, number in tables.local_backends.items()]


WEB = Cluster((service("web"),), (endpoint_slice("web", [1, 2]),))
WEB_SCALED = Cluster((service("web"),), (endpoint_slice("web", [2, 3]),))
BOTH = Cluster((service("web"), service("api", 2)), (*WEB.slices, endpoint_slice("api", [4])))
WEB_KEY, API_KEY = (FrontendKey(bytes([10, 96, 0, number]), 80, Protocol.TCP) for number in (1, 2))


def pods(agent: Agent, key: FrontendKey = WEB_KEY) -> list[int]:
    """The last byte of the addresses that a frontend in the maps leads to."""
    return sorted(backend.address[-1] for backend in meaning(agent.store.read())[key].cluster)


def backend_id(agent: Agent, pod: int) -> int:
    return next(number for number, row in agent.store.read().backends.items() if row.key.address[-1] == pod)


def raiser(error: Exception) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail
