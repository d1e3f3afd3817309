"""Flows of random clusters as packets: what ``explain`` says of each, where it is met, what a program did with it.

    random_cluster(seed) --read--> Snapshot, Options, Queries          Query --ask--> Asked --meet--> Met

Knows the hooks and what a verdict looks like there; compares nothing.
"""

import json
from collections import Counter as Bag
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from ebpflb.cli.config_load import load_config
from ebpflb.cli.explain_flows import Query, parse_line
from ebpflb.core.abi import Counter, Family, Protocol
from ebpflb.core.explain import Decision, Flow, Verdict, decide
from ebpflb.core.explain_index import Index
from ebpflb.core.model import Device as HostDevice
from ebpflb.core.model import Snapshot, format_address, parse_address
from ebpflb.core.options import DetectLocal, Options
from ebpflb.core.proxy_config_options import options_of
from ebpflb.files.offline import read_offline
from tests.explain.clusters import random_cluster
from tests.explain.plan import BRIDGE, NODE, OTHER_DEVICES, POD_DEVICES, POOLS
from tests.fuzz import segments
from tests.fuzz.rows import join
from tests.prog.harness import NODES_OWN, Datapath, Hook, XdpVerdict
from tests.prog.harness import Verdict as TcVerdict
from tests.prog.rows import FlowKey
from tests.prog.world import GATEWAYS, Device

FLOWS = 100
"""Of both families, for each cluster."""
UPLINK_ADDRESSES = ("192.0.101.1", "2001:db8:101::1")
_DEVICES = {
    BRIDGE: Device.POD,
    **dict.fromkeys(POD_DEVICES, Device.POD2),
    **dict.fromkeys(OTHER_DEVICES, Device.UPLINK),
}
"""Where packets come in that come in by a device of this name. The pods' veths are in no bridge here."""
_POD_DEVICE = {DetectLocal.BRIDGE_INTERFACE: BRIDGE, DetectLocal.INTERFACE_NAME_PREFIX: POD_DEVICES[0]}
_HOST_DEVICES = (
    HostDevice(Device.UPLINK, OTHER_DEVICES[0], tuple(map(parse_address, UPLINK_ADDRESSES)), supports_xdp=True),
    HostDevice(Device.POD, BRIDGE, (), serves_pods=True),
    HostDevice(Device.POD2, POD_DEVICES[0], (), serves_pods=True),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A flow, what explain says of it, and where its packets are met."""

    flow: Flow
    decision: Decision
    hook: Hook
    device: Device
    came_in_by: int
    text: str


@dataclass(frozen=True, slots=True)
class Met:
    """What a program did with the first packet of a flow."""

    verdict: Verdict
    counts: Bag[Counter]
    key: FlowKey


def routes() -> Iterator[str]:
    """Yield the ways to everybody: pods of this node behind their bridge, all else beyond the gateway."""
    for family, gateway in GATEWAYS.items():
        yield f"route add default via {gateway} dev uplink"
        yield f"route add {POOLS[family].pod_cidr} dev pod"


def read(seed: int, folder: Path) -> tuple[Snapshot, Options, list[Query]]:
    """Return a cluster as the command reads it, with devices as a node would have them."""
    cluster = random_cluster(seed, FLOWS)
    manifests, config = folder / "manifests.json", folder / "config.yaml"
    manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": cluster.manifests}))
    config.write_text(yaml.safe_dump(cluster.config))
    snapshot = read_offline(manifests, NODE, map(parse_address, cluster.node_addresses)).snapshot
    host = replace(snapshot.host, devices=_HOST_DEVICES)
    queries = [parse_line(json.dumps(flow).encode()) for flow in cluster.flows]
    return replace(snapshot, host=host), options_of(load_config(config).config), queries


def ask(index: Index, options: Options, query: Query) -> Asked | None:
    """Return what explain says, and where the programs meet the flow.

    None: at no packet hook, as it is on loopback; or at none that believes it, as a pod has an address of the node; or
    by a device of pods that neither the detector nor the address tells from others, which only direct answers ask.
    """
    if index.is_loopback(query.source) or index.is_loopback(query.destination):
        return None
    if query.device and index.is_of_node(query.source):
        return None
    is_pods = _is_pods(query.device, options) if query.device else None
    flow = Flow(query.source, query.destination, query.port, query.protocol, is_pods)
    is_told = query.device and is_pods is not None
    device = _DEVICES[query.device if is_told else _unnamed_device(index, options, query.source)]
    hook, came_in_by = (Hook.UPLINK_IN if device is Device.UPLINK else Hook.POD_IN), int(device)
    if index.is_of_node(query.source) and not query.device:
        hook, device, came_in_by = Hook.OUT, Device.UPLINK, NODES_OWN
    decision = decide(index, flow)
    if decision.is_direct and hook is not Hook.UPLINK_IN:
        return None
    text = f"{format_address(query.source)} to {format_address(query.destination)}:{query.port} {query.protocol.name}"
    return Asked(flow, decision, hook, device, came_in_by, f"{text} by {query.device or '?'} at {hook}")


def _is_pods(device: str, options: Options) -> bool | None:
    """What the command makes of a device's name."""
    match options.detect_local:
        case DetectLocal.BRIDGE_INTERFACE:
            return device == options.pod_interface
        case DetectLocal.INTERFACE_NAME_PREFIX:
            return device.startswith(options.pod_interface)
    return None


def _unnamed_device(index: Index, options: Options, source: bytes) -> str:
    if index.is_local_pod(source):
        return _POD_DEVICE.get(options.detect_local, BRIDGE)
    return OTHER_DEVICES[0]


def first_packet(family: Family, flow: Flow, sport: int) -> bytes:
    """Return the frame that begins a flow."""
    ends = join(flow.source, sport, flow.destination, flow.port)
    if flow.protocol is Protocol.TCP:
        segment = segments.tcp(ends, 0x02, b"")
    elif flow.protocol is Protocol.UDP:
        segment = segments.udp(ends, b"question")
    else:
        segment = segments.sctp(ends, 1, bytes(16))
    return segments.frame(family, segments.network(family, flow.protocol, ends, segment))


def meet(datapath: Datapath, asked: Asked, sport: int, *, at_xdp: bool = False) -> Met:
    """Run the program on a flow's first packet."""
    flow = asked.flow
    frame = first_packet(datapath.family, flow, sport)
    before = Bag(datapath.counters())
    if at_xdp:
        outcome = datapath.run_xdp(frame, asked.device)
        counts = Bag(datapath.counters()) - before
        verdict = _read_xdp(outcome.verdict, counts, is_untouched=outcome.frame == frame)
    else:
        result = datapath.run(asked.hook, frame, asked.device, came_in_by=asked.came_in_by)
        counts = Bag(datapath.counters()) - before
        verdict = _read_tc(result.verdict, counts, is_untouched=result.frame == frame)
    key = FlowKey(flow.source, sport, flow.destination, flow.port, flow.protocol)
    return Met(verdict, counts, key)


def _read_tc(verdict: TcVerdict, counts: Bag[Counter], *, is_untouched: bool) -> Verdict:
    if counts[Counter.FLOW_CREATED]:
        assert counts[Counter.DELIVERED] + counts[Counter.FORWARDED] + counts[Counter.HAIRPINNED] == 1, counts
        return Verdict.FORWARD
    if counts[Counter.REJECTED]:
        assert verdict is TcVerdict.REDIRECT
        return Verdict.REJECT
    if verdict is TcVerdict.NEXT:
        assert is_untouched
        assert counts == {Counter.PASSED: 1}
        return Verdict.PASS
    assert verdict is TcVerdict.DROP
    return Verdict.DROP


def _read_xdp(verdict: XdpVerdict, counts: Bag[Counter], *, is_untouched: bool) -> Verdict:
    """A packet that is left to tc is one that is to be refused, if no flow was made for it."""
    if counts[Counter.FLOW_CREATED]:
        assert counts[Counter.DELIVERED] + counts[Counter.FORWARDED] + counts[Counter.XDP_TO_TC] == 1, counts
        return Verdict.FORWARD
    if verdict is XdpVerdict.PASS:
        assert is_untouched
        return Verdict.REJECT if counts[Counter.XDP_TO_TC] else Verdict.PASS
    assert verdict is XdpVerdict.DROP
    return Verdict.DROP
