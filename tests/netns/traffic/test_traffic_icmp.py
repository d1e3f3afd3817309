"""ICMP errors about a Service's packets reach whom they concern, and speak of what that one knows: the Service.

Traceroute through a Service; a closed port of a backend; a client that has gone.
"""

import errno
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ebpflb.core.abi import Counter, Family
from tests.netns.life_helpers import until
from tests.netns.traffic.datagrams import SECONDS, Address, fragments, send_raw, udp_client
from tests.netns.traffic.wide import Wide

pytestmark = pytest.mark.root

RECEIVE_ERRORS = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR of <linux/in.h>, <linux/in6.h>; also the kind of what they bring."""
HOPS = {socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL), socket.AF_INET6: (socket.IPPROTO_IPV6, 16)}
"""IP_TTL, IPV6_UNICAST_HOPS."""
NOBODYS_PORT = 9
"""Of the client."""
ERROR_BYTES = 16
"""struct sock_extended_err; the address of who complains follows."""
CLOSED = [
    *(("outside", kind, offer) for kind in ("NodePort", "balancer IP") for offer in ("local", "remote", "dsr")),
    *(("far", "NodePort", offer) for offer in ("local", "remote", "dsr")),
    *(("uncovered", "ClusterIP", offer) for offer in ("local", "remote")),
    ("outside", "ClusterIP", "remote"),
]


@contextmanager
def attentive_client(wide: Wide, caller: str, target: Address) -> Iterator[socket.socket]:
    """Give a client that keeps what it hears of its packets."""
    with udp_client(wide.place(caller), target) as client:
        client.setsockopt(*RECEIVE_ERRORS[client.family], 1)
        yield client


def complaint(client: socket.socket) -> tuple[int, Address, str]:
    """Wait for an error on a socket; return its number, the destination that it is about and who sent it."""
    poll = select.poll()
    poll.register(client, 0)  # errors are always told
    assert poll.poll(1000 * SECONDS), "nobody complained"
    client.setblocking(False)
    _, ancillary, _, about = client.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    (sent,) = [data for level, kind, data in ancillary if (level, kind) == RECEIVE_ERRORS[client.family]]
    (number,) = struct.unpack_from("=I", sent)
    offender = sent[ERROR_BYTES:]
    packed = offender[4:8] if client.family == socket.AF_INET else offender[8:24]
    return number, about[:2], socket.inet_ntop(client.family, packed)


@pytest.mark.parametrize(("caller", "kind", "offer"), CLOSED)
def test_a_backends_closed_port_is_told_as_the_services(
    wide: Wide, family: Family, caller: str, kind: str, offer: str
) -> None:
    target = wide.dialled(f"closed-{offer}", kind, family)
    with attentive_client(wide, caller, target) as client:
        client.send(b"is anybody there?")
        number, about, offender = complaint(client)
    assert (number, about) == (errno.ECONNREFUSED, target)
    assert offender == target[0]


@pytest.mark.parametrize("offer", ["local", "remote"])
def test_a_client_that_has_gone_is_told_to_the_backend(wide: Wide, family: Family, offer: str) -> None:
    """Its stack complains to the Service's address, since that is who answered."""
    client, target = wide.place("outside"), wide.dialled(offer, "NodePort", family)
    before = wide.counters(1, family)[Counter.ICMP_TRANSLATED]
    send_raw(client, target, fragments((client.address_of(family), NOBODYS_PORT), target, b"I shall not wait", 1))
    until(lambda: wide.counters(1, family)[Counter.ICMP_TRANSLATED] > before, SECONDS)


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
@pytest.mark.parametrize(("offer", "hops"), [("local", 1), ("remote", 2), ("dsr-remote", 1)])
def test_a_traceroute_shows_the_service_for_every_hop_behind_it(
    wide: Wide, family: Family, kind: str, offer: str, hops: int
) -> None:
    """``hops``: the nodes on the way, the one that forwards by itself and those whose stacks do; as with conntrack."""
    target = wide.dialled(offer, kind, family)
    seen = []
    for ttl in range(1, 1 + hops + 1):
        with attentive_client(wide, "far", target) as client:
            client.setsockopt(*HOPS[client.family], ttl)
            client.send(b"how far is it?")
            number, about, offender = complaint(client)
        assert (number, about) == (errno.EHOSTUNREACH, target)
        seen.append(offender)
    assert seen == [wide.router.address_of(family), *[target[0]] * hops]
