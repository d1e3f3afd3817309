"""Every drop, and every counter that a packet program can raise: a row each, and none is left out."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from ebpflb.datapath.source import bpf_directory, inline_source
from tests.prog.harness import SIZES, Hook
from tests.prog.lab import Lab, Row, delivers, drops, forwards, hairpins, params, passes
from tests.prog.services import Node, Service, tables
from tests.prog.wire import Wire
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT


def cluster_ip(*backends: str, has_backends: bool = True, affinity_s: int = 0) -> Service:
    kind = FrontendKind.CLUSTER_IP
    return Service("cluster:80", backends, kind, has_backends=has_backends, affinity_s=affinity_s)


REQUEST = Wire("client:4000", "cluster:80")
TO_POD = delivers(UPLINK, REQUEST, Wire("client:4000", "pod:8080"))
TO_REMOTE = forwards(REQUEST, Wire("node:4000", "remote:8080"))
LONG = b"x" * 1400
"""Too long for ``narrow``."""


def name_nobody(lab: Lab) -> None:
    full = tables(lab.family, lab.protocol, [cluster_ip("pod")])
    nobody = SIZES.backends - 1
    slots = {span: np.full_like(ids, nobody) for span, ids in full.slots.items()}
    lab.datapath.load(replace(full, slots=slots))


def forget_backends(lab: Lab) -> None:
    full = tables(lab.family, lab.protocol, [cluster_ip("pod")])
    lab.datapath.load(replace(full, backends={}))


DROPS = {
    Counter.DROP_NO_LOCAL_BACKEND: Row("no backend here", (replace(cluster_ip("remote"), local_policy=True),), ()),
    Counter.DROP_NO_SNAT_ADDRESS: Row("the device has no address", (cluster_ip("bare"),), ()),
    Counter.DROP_NO_SNAT_PORT: Row(
        "no free port", (cluster_ip("remote"),), (), prepare=lambda lab: lab.take_ports("remote", own_port=4000)
    ),
    Counter.DROP_NO_ROUTE: Row("no route to the backend", (cluster_ip("lost"),), ()),
    Counter.DROP_DEAD_SLOT: Row("a slot names nobody", (cluster_ip("pod"),), (), prepare=name_nobody),
}
"""What stops a first packet before it makes a flow. Each packet is the same but for its length."""

ROWS = {
    **{
        reason: replace(row, steps=(drops(UPLINK, replace(REQUEST, payload=LONG), reason),))
        for reason, row in DROPS.items()
    },
    Counter.PASSED: Row("nobody's", (), (passes(UPLINK, REQUEST), passes(POD, REQUEST), passes(OUT, REQUEST))),
    Counter.DELIVERED: Row("delivered", (cluster_ip("pod"),), (TO_POD.opening(), TO_POD)),
    Counter.FORWARDED: Row("forwarded", (cluster_ip("remote"),), (TO_REMOTE.opening(), TO_REMOTE)),
    Counter.HAIRPINNED: Row(
        "hairpinned",
        (cluster_ip("pod"),),
        (hairpins(Wire("pod:4000", "cluster:80"), Wire("hairpin:4000", "pod:8080")).opening(),),
    ),
    Counter.REPLY_RESTORED: Row(
        "restored",
        (cluster_ip("pod"),),
        (TO_POD.opening(), delivers(OUT, Wire("pod:8080", "client:4000"), Wire("cluster:80", "client:4000"))),
    ),
    Counter.DROP_UNUSED_ADDRESS: Row(
        "no Service has the address",
        (),
        (drops(UPLINK, Wire("client:4000", "unused:80"), Counter.DROP_UNUSED_ADDRESS),),
        node=Node(cidrs=(("cluster", 16),)),
    ),
    Counter.FLOW_CREATED: Row("created", (cluster_ip("pod"),), (TO_POD.opening(),)),
    Counter.FLOW_RESELECTED: Row(
        "selected again",
        (cluster_ip("pod"),),
        (
            TO_POD.opening(),
            delivers(UPLINK, replace(REQUEST, flags="FA"), Wire("client:4000", "pod:8080", flags="FA")),
            TO_POD.opening().also(Counter.FLOW_RESELECTED),
        ),
        protocols=(Protocol.TCP,),
    ),
    Counter.AFFINITY_HIT: Row(
        "remembered",
        (cluster_ip("pod", affinity_s=60),),
        (
            TO_POD.opening(),
            delivers(UPLINK, Wire("client:4001", "cluster:80"), Wire("client:4001", "pod:8080"))
            .opening()
            .also(Counter.AFFINITY_HIT),
        ),
    ),
}
ELSEWHERE = {
    Counter.REJECTED: "test_tc_reject.py",
    Counter.REJECTED_PORT: "test_tc_unclaimed.py",
    Counter.DROP_REWRITE: "test_tc_reject.py",
    Counter.PASSED_FRAGMENT: "test_tc_fragments.py",
    Counter.FRAGMENT_HELD: "test_tc_fragments.py",
    Counter.FRAGMENT_RELEASED: "test_tc_fragments.py",
    Counter.DROP_FRAGMENT: "test_tc_fragments.py",
    Counter.FLOW_CONFIRMED: "lab.py",
    Counter.XDP_TO_TC: "test_xdp.py",
    Counter.ICMP_TRANSLATED: "test_tc_icmp.py",
    Counter.ECHO_ANSWERED: "test_tc_ping.py",
    Counter.TOO_BIG_ANSWERED: "test_tc_answers.py",
    Counter.TTL_ANSWERED: "test_tc_answers.py",
    Counter.DROP_TOO_BIG: "test_tc_answers.py",
    Counter.DROP_TTL: "test_tc_answers.py",
    Counter.DROP_SOURCE_RANGE: "test_tc_source_ranges.py",
    Counter.ENCAPSULATED: "test_tc_dsr.py",
    Counter.DECAPSULATED: "test_tc_dsr.py",
}
"""Raised, and looked at as whole packets, elsewhere."""
UNREACHABLE = {Counter.DROP_FLOW_TABLE_FULL}
"""When the kernel has no memory for a new entry of `pending`, which gives way otherwise."""


@pytest.mark.parametrize(("row", "family", "protocol"), params(ROWS.values()))
def test_each_counter(lab_of: Callable[[Family, Protocol], Lab], row: Row, family: Family, protocol: Protocol) -> None:
    lab_of(family, protocol).play_row(row)


@pytest.mark.parametrize("counter", ROWS, ids=lambda counter: counter.name)
def test_each_row_raises_its_counter(counter: Counter) -> None:
    assert all(counter in step.counts for step in ROWS[counter].steps[-1:])


@pytest.mark.parametrize("reason", DROPS, ids=lambda reason: reason.name)
def test_what_is_dropped_leaves_no_flow(lab: Lab, reason: Counter) -> None:
    row = DROPS[reason]
    lab.load(*row.services, devices=row.devices)
    row.prepare(lab)
    before = lab.datapath.flows()
    lab.play(drops(UPLINK, replace(REQUEST, payload=LONG), reason))
    assert lab.datapath.flows() == before


def test_a_slot_may_name_a_backend_that_was_deleted_a_moment_ago(lab: Lab) -> None:
    """A program that read its frontend just before a change must not drop: the row keeps the backend's address."""
    lab.load(cluster_ip("pod"))
    forget_backends(lab)
    lab.play(delivers(UPLINK, REQUEST, Wire("client:4000", "pod:8080")).opening())


def test_a_reply_to_a_client_without_a_route_is_dropped(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    lab.play(
        forwards(Wire("stranger:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening(),
        drops(UPLINK, Wire("remote:8080", "node:4000", flags="SA"), Counter.DROP_NO_ROUTE),
    )


def test_a_packet_as_big_as_the_way_allows_is_forwarded(lab: Lab) -> None:
    """To the byte: the device's MTU, as the kernel's own check of a forwarded packet has it."""
    lab.load(cluster_ip("narrow"), devices={Device.NARROW: "node"})
    headers = len(lab.frame(replace(REQUEST, payload=b"")))
    fits = replace(REQUEST, payload=bytes(1280 + 14 - headers))
    lab.play(forwards(fits, Wire("node:4000", "narrow:8080", payload=fits.payload)).opening())


def test_no_counter_of_the_packet_programs_is_left_out() -> None:
    text = inline_source("lb_tc.c", bpf_directory())
    begin = text.index("enum lb_counter {")
    elsewhere = text[:begin] + text[text.index("};", begin) :]
    raised = {Counter[name] for name in re.findall(r"\bLB_COUNTER_(\w+)", elsewhere) if name != "MAX"}
    assert raised == ROWS.keys() | ELSEWHERE.keys() | UNREACHABLE


@pytest.mark.parametrize(("counter", "file"), ELSEWHERE.items(), ids=lambda value: getattr(value, "name", value))
def test_what_is_raised_elsewhere_is_looked_at_there(counter: Counter, file: str) -> None:
    assert f"Counter.{counter.name}" in (Path(__file__).parent / file).read_text()
