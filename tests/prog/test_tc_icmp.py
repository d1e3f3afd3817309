"""ICMP errors follow the flow that they are about, in both directions and at every hook: outer and quoted addresses,
ports and checksums. Expected frames are built anew by scapy.
"""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, Family, FrontendKind
from tests.prog.harness import Hook, Outcome, Verdict
from tests.prog.icmp_errors import KINDS, Error
from tests.prog.lab import Lab
from tests.prog.services import Service
from tests.prog.wire import Wire
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT


def cluster_ip(backend: str) -> Service:
    return Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP)


def opened(lab: Lab, backend: str, hook: Hook = UPLINK, client: str = "client:4000") -> Lab:
    """Return the lab with a flow to a backend."""
    lab.load(cluster_ip(backend))
    lab.run(hook, Wire(client, "cluster:80"))
    return lab


def sends(lab: Lab, hook: Hook, error: Error, verdict: Verdict, out: Error) -> None:
    """Check what becomes of an error, to the byte."""
    before = lab.datapath.counters().get(Counter.ICMP_TRANSLATED, 0)
    outcome = lab.datapath.run(hook, error.frame(lab), Device.POD if hook is POD else Device.UPLINK)
    assert outcome.verdict is verdict
    assert outcome.frame.hex() == out.frame(lab).hex()
    assert lab.datapath.counters()[Counter.ICMP_TRANSLATED] == before + 1


@pytest.mark.parametrize("kind", KINDS)
def test_about_a_request_to_a_remote_backend(lab: Lab, kind: str) -> None:
    """A router behind this node answers the masqueraded request: the client is told, by the Service's address."""
    opened(lab, "remote")
    error = Error("stranger", "node:4000", "remote:8080", kind)
    sends(lab, UPLINK, error, Verdict.REDIRECT, Error("cluster", "client:4000", "cluster:80", kind, ttl=63))


@pytest.mark.parametrize("kind", KINDS)
def test_to_the_services_address_about_a_reply_of_a_remote_backend(lab: Lab, kind: str) -> None:
    """Path-MTU discovery of a backend behind a NodePort or load balancer hangs on this one."""
    opened(lab, "remote")
    error = Error("stranger", "cluster:80", "client:4000", kind)
    sends(lab, UPLINK, error, Verdict.REDIRECT, Error("node", "remote:8080", "node:4000", kind, ttl=63))


@pytest.mark.parametrize("kind", KINDS)
def test_to_the_services_address_about_a_reply_of_a_local_backend(lab: Lab, kind: str) -> None:
    """The client's address stays: so does the router's."""
    opened(lab, "pod")
    error = Error("stranger", "cluster:80", "client:4000", kind)
    sends(lab, UPLINK, error, Verdict.NEXT, Error("stranger", "pod:8080", "client:4000", kind))


@pytest.mark.parametrize("kind", KINDS)
def test_from_a_local_backend_about_a_request(lab: Lab, kind: str) -> None:
    """It is restored where replies are: as it leaves."""
    opened(lab, "pod")
    error = Error("pod", "client:4000", "pod:8080", kind)
    frame = error.frame(lab)
    assert lab.datapath.run(POD, frame, Device.POD) == Outcome(Verdict.NEXT, frame)
    sends(lab, OUT, error, Verdict.NEXT, Error("cluster", "client:4000", "cluster:80", kind))


def test_from_this_node_about_a_request_of_a_pod(lab: Lab) -> None:
    opened(lab, "remote", POD, "pod:4000")
    error = Error("node", "pod:4000", "remote:8080")
    outcome = lab.datapath.run(OUT, error.frame(lab), came_in_by=0)
    assert outcome.frame == Error("cluster", "pod:4000", "cluster:80").frame(lab)


def test_between_a_pod_and_itself(lab: Lab) -> None:
    opened(lab, "pod", POD, "pod:4000")
    error = Error("pod", "hairpin:4000", "pod:8080")
    out = Error("cluster", "pod:4000", "cluster:80", swapped=True)
    sends(lab, POD, error, Verdict.REDIRECT, out)


@pytest.mark.parametrize("bytes_of_transport", [8, 12, 16, 18, 20])
def test_a_quote_may_end_anywhere_behind_the_ports(lab: Lab, bytes_of_transport: int) -> None:
    """RFC 792 asks for 8 bytes: a TCP checksum is then not among them."""
    opened(lab, "remote")
    length = (20 if lab.family is Family.IPV4 else 40) + bytes_of_transport
    quoted = Error("stranger", "node:4000", "remote:8080", quoted_bytes=length)
    out = Error("cluster", "client:4000", "cluster:80", ttl=63, quoted_bytes=length)
    sends(lab, UPLINK, quoted, Verdict.REDIRECT, out)


def test_a_quoted_datagram_without_checksum_stays_without(udp: Lab) -> None:
    if udp.family is Family.IPV6:
        return  # RFC 8200 wants one
    opened(udp, "remote")
    error = Error("stranger", "node:4000", "remote:8080", no_checksum=True)
    out = replace(error, sender="cluster", quoted_src="client:4000", quoted_dst="cluster:80", ttl=63)
    sends(udp, UPLINK, error, Verdict.REDIRECT, out)


def test_a_wrong_checksum_stays_wrong(lab: Lab) -> None:
    """The receiver shall find out, as it would have without us."""
    opened(lab, "remote")
    frame = bytearray(Error("stranger", "node:4000", "remote:8080").frame(lab))
    right = lab.datapath.run(UPLINK, bytes(frame)).frame
    frame[-1] ^= 0xFF
    assert lab.datapath.run(UPLINK, bytes(frame)).frame == right[:-1] + bytes([right[-1] ^ 0xFF])


STRANGERS = {
    "about nobody's packet": Error("stranger", "node:4001", "remote:8080"),
    "about another Service's": Error("stranger", "cluster:81", "client:4000"),
}


@pytest.mark.parametrize("error", STRANGERS.values(), ids=STRANGERS)
def test_others_errors_pass(lab: Lab, error: Error) -> None:
    opened(lab, "remote")
    frame = error.frame(lab)
    for hook in Hook:
        assert lab.datapath.run(hook, frame) == Outcome(Verdict.NEXT, frame)


def test_an_error_that_does_not_go_to_the_quoted_sender_passes(lab: Lab) -> None:
    """Nobody may have errors about others' flows translated."""
    opened(lab, "remote")
    error = bytearray(Error("stranger", "node:4000", "remote:8080").frame(lab))
    at = 14 + (16 if lab.family is Family.IPV4 else 24)
    error[at : at + 4] = b"\x0a\x00\x00\x01"
    assert lab.datapath.run(UPLINK, bytes(error)) == Outcome(Verdict.NEXT, bytes(error))


def test_an_error_does_not_keep_a_flow_alive(lab: Lab) -> None:
    opened(lab, "remote")
    long_ago = 1000 * lab.datapath.clock.hz
    lab.datapath.age_flows(long_ago)
    lab.datapath.run(UPLINK, Error("stranger", "node:4000", "remote:8080").frame(lab))
    assert min(lab.datapath.flow_ages().values()) >= long_ago


def test_an_error_cut_at_every_byte(lab: Lab) -> None:
    """Whatever is there of the ports is enough; less is left alone."""
    opened(lab, "remote")
    frame = Error("stranger", "node:4000", "remote:8080").frame(lab)
    header_bytes = 20 if lab.family is Family.IPV4 else 40
    ports_end = 14 + header_bytes + 8 + header_bytes + 4
    for length in range(14 + header_bytes, len(frame)):
        outcome = lab.datapath.run(UPLINK, frame[:length])
        assert outcome.verdict is (Verdict.REDIRECT if length >= ports_end else Verdict.NEXT), length
        if length < ports_end:
            assert outcome.frame == frame[:length]
