"""A node for measuring programs: its XDP programs and maps, filled, and no interface but veths in a namespace.

Rows are written by the data plane's own store, flows are opened by its programs. Knows no figure.

    Services, family --Node--> dispatcher (what a device would run), maps
                       Node.connect(Service) --> an established flow --Node.multiply_flow--> many
"""

import os
import struct
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import numpy as np

from ebpflb.bench.closing import Closing
from ebpflb.bench.cycles_frames import ACK, SYN, SYN_ACK, Endpoints, endpoints_of, packed, segment
from ebpflb.bench.cycles_services import (
    CLIENTS,
    NETWORKS,
    NEWCOMERS,
    PORT,
    STRANGER,
    Device,
    frontend_address,
    ids_of,
    service_tables,
    where_of,
)
from ebpflb.bench.measure import RefusedError
from ebpflb.core.abi import Counter, Family, FlowFlag
from ebpflb.core.tables import TableName
from ebpflb.datapath import libbpf
from ebpflb.datapath.arrays import Rows, joined
from ebpflb.datapath.build import BuildSpec, build_programs, remove_build
from ebpflb.datapath.dispatch import Dispatcher
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import XDP_IN
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.errors import MapError

_FLOW_MAPS: Final = ("flows", "pending")


class Node(Closing):
    """One family's XDP programs and maps, filled. A context manager; to be used in a namespace with ``NETNS_LINES``."""

    def __init__(self, bpffs: Path, family: Family, services: int, *, hz: int) -> None:
        """Build the programs and write the rows. Raises what these raise."""
        self.family = family
        self.services = services
        self._pins = Pins(bpffs, f"cycles-{os.getpid()}-{family.value}-{services}")
        self._open = ExitStack()
        try:
            self._build(hz)
            keep = self._open.enter_context
            self._store = keep(PinnedMapStore(self._pins, family))
            self._maps = {name: keep(open_map(self._pins, family, name)) for name in (*_FLOW_MAPS, "counters")}
            self._fill()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unload everything."""
        self._open.close()
        remove_build(self._pins.progs(self.family))
        self._pins.remove()

    def _build(self, hz: int) -> None:
        self._pins.create_folders(self.family)
        spec = BuildSpec(
            self.family,
            self._pins.maps(self.family),
            self._pins.progs(self.family),
            hz=hz,
            host_netns_cookie=1,
            hairpin_address=packed("169.254.170.1" if self.family is Family.IPV4 else "fe80::a9fe:aa01"),
        )
        build = build_programs(spec, (XDP_IN,))
        dispatcher = Dispatcher(self._pins, {self.family: build.pins[XDP_IN.stem]})
        self.program = self._open.enter_context(libbpf.obj_get(dispatcher.ready()))

    def _fill(self) -> None:
        tables = service_tables(self.family, self.services)
        for table in TableName:
            if failures := self._store.put(table, tables.rows(table)):
                raise MapError(f"the benchmark's rows do not fit: {failures[0].error}")
        self._store.write_slots(tables.slots)

    def request(self, service: int) -> Endpoints:
        """Return the endpoints of a client's packet to a Service, by its number."""
        return Endpoints(packed(CLIENTS[self.family]), 1024, frontend_address(self.family, service), PORT)

    def new_request(self, service: int, port: int) -> Endpoints:
        """Return the endpoints of a packet to a Service by a client that has no flow."""
        return self.request(service)._replace(source=packed(NEWCOMERS[self.family]), source_port=port)

    def stray(self) -> Endpoints:
        """Return the endpoints of a packet that nobody claims."""
        return self.request(0)._replace(destination=packed(STRANGER[self.family]))

    def connect(self, service: int) -> bytes:
        """Open a connection, three packets; return the frame of the client's next one.

        Raises ``RefusedError`` when the programs did not establish it.
        """
        request = self.request(service)
        before = self.counters()
        translated = self._run(segment(request, SYN))
        self._run(segment(endpoints_of(translated).reversed(), SYN_ACK))
        self._run(segment(request, ACK))
        confirmed = self.counters().get(Counter.FLOW_CONFIRMED, 0) - before.get(Counter.FLOW_CONFIRMED, 0)
        if confirmed != 1:
            raise RefusedError(f"the handshake of the flow to be measured was not followed: {confirmed} confirmed")
        return segment(request, ACK)

    def _run(self, frame: bytes) -> bytes:
        ctx = struct.pack("=6I", 0, len(frame), 0, Device.UPLINK, 0, 0)
        return libbpf.prog_test_run(self.program, frame, ctx=ctx).data

    def counters(self) -> dict[Counter, int]:
        """Return the counters that are not zero, all CPUs added up."""
        keys, values = self._maps["counters"].read()
        totals = values.sum(axis=1).tolist()
        return {Counter(key): total for key, total in zip(keys.tolist(), totals, strict=True) if total}

    def forget_pending(self) -> int:
        """Remove every flow that is not confirmed; return how many entries there were."""
        pending = self._maps["pending"]
        keys, _values = pending.read()
        pending.delete(keys)
        return len(keys)

    def multiply_flow(self, service: int, count: int, port_bits: int) -> Rows:
        """Make ``count`` flows of the one that is established to a Service; return the keys of all their entries.

        Flow ``number`` has the client's port plus the low ``port_bits`` of its number, and the client's address plus
        the rest, which also chooses the backend: the node has a port only once towards each.
        """
        flows = self._maps["flows"]
        request, reply = self._pair(flows, self.request(service))
        numbers = np.arange(count)
        groups, ports = numbers >> port_bits, numbers & (1 << port_bits) - 1
        keys, values = (np.repeat(half, count) for half in request)
        reply_keys, reply_values = (np.repeat(half, count) for half in reply)
        backends = ids_of(service)[0] + groups
        networks = int(ip_address(NETWORKS[self.family][where_of(service)]))
        for column in (keys["saddr"], reply_values["to_daddr"]):
            column["word"][:, -1] += groups.astype(np.uint32)
        for column in (values["to_daddr"], reply_keys["saddr"]):
            column["word"][:, -1] = ((networks + backends) & 0xFFFFFFFF).astype(np.uint32)
        for rows, name in ((keys, "sport"), (values, "to_sport"), (reply_keys, "dport"), (reply_values, "to_dport")):
            rows[name] += ports.astype(np.uint16)
        values["backend_id"] = reply_values["backend_id"] = backends
        if flows.update(keys, values) or flows.update(reply_keys, reply_values):
            raise MapError(f"the flow table does not take {count} flows")
        return joined([keys, reply_keys])

    def _pair(self, flows: BpfMap, request: Endpoints) -> tuple[tuple[Rows, Rows], tuple[Rows, Rows]]:
        """Return the two entries of a flow, each as one key and one value."""
        keys, values = flows.read()
        replies = (values["flags"] & FlowFlag.REPLY) != 0
        client, frontend = (np.frombuffer(each, ">u4") for each in (request.source, request.destination))
        asks = ~replies & (keys["saddr"]["word"] == client).all(1) & (keys["daddr"]["word"] == frontend).all(1)
        answers = replies & (values["to_saddr"]["word"] == frontend).all(1)
        found = [np.flatnonzero(each) for each in (asks, answers)]
        if [len(each) for each in found] != [1, 1]:
            raise RefusedError("the flow to be multiplied is not in the table, or not alone")
        return (keys[found[0]], values[found[0]]), (keys[found[1]], values[found[1]])
