"""The socket programs under real sockets of both families: built, attached, filled, called; on any kernel."""

import errno
import json
import os
import subprocess
import sys
from collections import Counter as Bag
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from ebpflb.bench.cgroups import find_mount, remove_tree
from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    ConfigFlag,
    Counter,
    Family,
    FrontendFlag,
    FrontendKind,
    NodeAddrFlag,
    Protocol,
)
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
    TableName,
)
from ebpflb.datapath.build import MapSizes, remove_build
from ebpflb.datapath.cgroup import attach_cgroup
from ebpflb.datapath.kernel_sockets import socket_bits
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import SOCKET_PROGRAMS, programs_of
from ebpflb.datapath.store import PinnedMapStore, open_map
from tests.kernels.addresses import ADDRESSES, NODE_PORT, TCP_PORT, UDP_PORT
from tests.kernels.building import built, can_set_retval

pytestmark = pytest.mark.root

SIZES = MapSizes(64, 64, 64, 64, 1024, 64, 64, 4096, 64, 64)
"""Sockets: each CPU takes 128 entries of an LRU map at once (before 6.16), so that a small one forgets too early."""
BITS = socket_bits()
TCP_RANGE, UDP_RANGE = Range(16, 2), Range(32, 1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pod's clients saw, and what the programs counted meanwhile."""

    answers: dict[str, list[object]]
    counts: Bag[Counter]
    remembered: int
    """Rows of ``sock_origins`` when all clients were gone."""


def fill(store: PinnedMapStore, family: Family) -> None:
    """Write a Service with two backends (one for UDP), its NodePorts, and a Service without backends."""
    packed = {name: ip_address(text).packed for name, text in ADDRESSES[family].items()}
    backends = {
        number: Backend(BackendKey(packed[name], port, protocol), BackendState.ACTIVE, BackendFlag.LOCAL, number)
        for number, name, port, protocol in (
            (1, "backend", 8080, Protocol.TCP),
            (2, "backend2", 8080, Protocol.TCP),
            (3, "backend", 5353, Protocol.UDP),
            (4, "loopback", 5353, Protocol.UDP),
        )
    }
    any_address, loopback_range = bytes(family.address_bytes), Range(48, 1)

    def frontend(service_id: int, kind: FrontendKind, slots: Range) -> Frontend:
        flags = FrontendFlag.HAS_BACKENDS if slots.length else FrontendFlag(0)
        return Frontend(service_id, kind, Algorithm.RANDOM, flags, 0, slots, EMPTY_RANGE)

    frontends = {
        FrontendKey(packed["cluster"], TCP_PORT, Protocol.TCP): frontend(1, FrontendKind.CLUSTER_IP, TCP_RANGE),
        FrontendKey(packed["cluster"], UDP_PORT, Protocol.UDP): frontend(2, FrontendKind.CLUSTER_IP, UDP_RANGE),
        FrontendKey(packed["empty"], TCP_PORT, Protocol.TCP): frontend(3, FrontendKind.CLUSTER_IP, EMPTY_RANGE),
        FrontendKey(any_address, NODE_PORT, Protocol.TCP): frontend(1, FrontendKind.NODE_PORT, TCP_RANGE),
        FrontendKey(any_address, NODE_PORT, Protocol.UDP): frontend(4, FrontendKind.NODE_PORT, loopback_range),
    }
    assert not store.put(TableName.BACKENDS, backends)
    store.write_slots(
        {
            TCP_RANGE: np.array([1, 2], np.uint32),
            UDP_RANGE: np.array([3], np.uint32),
            loopback_range: np.array([4], np.uint32),
        }
    )
    assert not store.put(TableName.FRONTENDS, frontends)
    assert not store.put(TableName.NODE_ADDRS, {packed["node"]: NodeAddrFlag.NODE_PORTS})
    nowhere = Prefix(any_address, 8 * len(any_address))
    flags = ConfigFlag.WRITTEN | ConfigFlag.LOOPBACK_NODE_PORTS
    assert not store.put(TableName.CONFIG, {CONFIG_KEY: ConfigRow(flags, nowhere, nowhere)})


@pytest.fixture(scope="module", params=Family, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


@pytest.fixture(scope="module")
def pins(family: Family) -> Iterator[Pins]:
    pins = Pins(Path("/sys/fs/bpf"), f"smoke-{uuid4().hex[:12]}")
    pins.create_folders(family)
    yield pins
    remove_build(pins.progs(family))
    pins.remove()


@pytest.fixture(scope="module")
def cgroup() -> Iterator[Path]:
    folder = find_mount() / f"ebpflb-smoke-{uuid4().hex[:12]}"
    folder.mkdir()
    yield folder
    remove_tree(folder)


@pytest.fixture(scope="module")
def seen(family: Family, pins: Pins, cgroup: Path) -> Seen:
    """Build for this kernel, attach to a cgroup, run the pod in it once."""
    build = built(family, pins, SOCKET_PROGRAMS, BITS, SIZES)
    programs = programs_of(family, SOCKET_PROGRAMS)
    attach_cgroup({each.name(family): build.pins[each.stem] for each in programs}, cgroup, pins.links(family))
    with PinnedMapStore(pins, family) as store:
        fill(store, family)
    pod = [sys.executable, "-m", "tests.kernels.pod", str(cgroup), str(family.value)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(pod, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    with open_map(pins, family, "counters") as counters, open_map(pins, family, "sock_origins") as origins:
        keys, values = counters.read()
        remembered = len(origins.read()[0])
    totals = zip(keys.tolist(), values.sum(axis=1).tolist(), strict=True)
    return Seen(json.loads(done.stdout), Bag({Counter(key): total for key, total in totals if total}), remembered)


def backends(family: Family) -> set[str]:
    return {ADDRESSES[family]["backend"], ADDRESSES[family]["backend2"]}


def names_of(family: Family) -> dict[str, dict[str, str]]:
    """Return the clients' prefix and the addresses as they name them: for IPv4 also IPv6 sockets that speak it."""
    own = ADDRESSES[family]
    return {"": own} | ({"mapped ": {k: f"::ffff:{v}" for k, v in own.items()}} if family is Family.IPV4 else {})


@pytest.mark.parametrize(("client", "dialled", "port"), [("TCP", "cluster", TCP_PORT), ("NodePort", "node", NODE_PORT)])
def test_a_tcp_client_reaches_a_backend_and_sees_the_service(
    seen: Seen, family: Family, client: str, dialled: str, port: int
) -> None:
    for prefix, names in names_of(family).items():
        server, *peer = seen.answers[prefix + client]
        assert server in backends(family)
        assert peer == [names[dialled], port]


@pytest.mark.parametrize("client", ["connected", "unconnected"])
def test_a_udp_client_is_answered_by_the_service(seen: Seen, family: Family, client: str) -> None:
    for prefix, names in names_of(family).items():
        assert seen.answers[f"{prefix}{client} UDP"] == [client, names["cluster"], UDP_PORT]


def test_the_loopback_address_is_the_nodes_in_the_initial_namespace_only(seen: Seen, family: Family) -> None:
    assert seen.answers["in the initial namespace"] == [ADDRESSES[family]["loopback"], NODE_PORT]
    for prefix in names_of(family):
        assert seen.answers[f"{prefix}NodePort on a pod's loopback address"] == [errno.ECONNREFUSED]


def test_a_service_without_backends_refuses_at_once_or_leaves_the_address_alone(seen: Seen, family: Family) -> None:
    """Before ``bpf_set_retval`` the packet goes its way, and the packet hooks count it; here no route takes it."""
    for prefix in names_of(family):
        assert seen.answers[f"{prefix}no backends"] == [errno.ECONNREFUSED if can_set_retval() else errno.ENETUNREACH]
    assert seen.counts[Counter.SOCK_REJECTED] == (len(names_of(family)) if can_set_retval() else 0)


def test_a_node_port_is_taken_for_the_host_and_free_for_a_pod(seen: Seen) -> None:
    refused = errno.EADDRINUSE if can_set_retval() else errno.EPERM
    assert seen.answers["bind in the initial namespace"] == [refused, refused]
    assert seen.answers["bind in a pod"] == [0, 0]
    assert seen.counts[Counter.BIND_REFUSED] == len(("every address", "every address by IPv6"))


def test_every_call_is_counted(seen: Seen, family: Family) -> None:
    """Translated: TCP, NodePort, UDP twice, the initial namespace. Restored: getpeername() four times, recvmsg()."""
    mapped = 4 * (len(names_of(family)) - 1)
    by_the_kernel = "kernel socket" in seen.answers and not BITS.kernel.mask
    assert seen.counts[Counter.SOCK_TRANSLATED] == 5 + mapped + by_the_kernel
    assert seen.counts[Counter.SOCK_RESTORED] >= 5 + mapped
    assert seen.counts[Counter.SOCK_PASSED] >= 1


def test_a_socket_of_the_kernels_own_is_left_alone_if_the_kernel_tells(seen: Seen) -> None:
    """A mount of 9p, where there is 9p; this machine's kernel may have none, guests have it."""
    told_apart = "kernel socket" in seen.answers and BITS.kernel.mask
    assert seen.counts[Counter.SOCK_OPTED_OUT] == bool(told_apart)


def test_closed_sockets_are_forgotten(seen: Seen) -> None:
    """Also those that were never connected (ADR 26)."""
    assert seen.remembered == 0
