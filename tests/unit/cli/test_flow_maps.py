import dataclasses
from typing import Any

import numpy as np
import pytest

from ebpflb.cli.flow_maps import (
    FLOW_MAPS,
    FlowContext,
    decode_affinity,
    decode_changes,
    decode_counters,
    decode_datagrams,
    decode_flows,
    decode_held_fragments,
    decode_marks,
    decode_sock_choices,
    decode_sock_origins,
)
from ebpflb.core.abi import Counter, Family, FlowFlag, FlowSeen
from ebpflb.core.model import parse_address
from ebpflb.datapath.layout import layout_of
from ebpflb.datapath.maps import Rows
from tests.unit.cli.worlds import DNS, WEB, tables

TCP, UDP = 6, 17
NOW = 100
"""Jiffies; they have just wrapped."""


@pytest.fixture(name="context")
def _context() -> FlowContext:
    return FlowContext(tables(), now_jiffies=NOW, hz=100)


def entry(name: str, part: str, **values: Any) -> Rows:
    """A key or value of a map, with addresses as text."""
    row = np.zeros(1, getattr(layout_of(name, Family.IPV4), part))
    for field, value in values.items():
        if isinstance(value, str):
            row[field]["word"] = np.frombuffer(parse_address(value), ">u4")
        else:
            row[field] = value
    return row


def flow_pair() -> tuple[Rows, Rows]:
    """203.0.113.9:5000 dials 10.96.0.10:80, served by 10.1.0.2:8080 behind SNAT to 192.0.2.1:5000."""
    keys = np.concatenate(
        [
            entry("flows", "key", saddr="203.0.113.9", daddr="10.96.0.10", sport=5000, dport=80, protocol=TCP),
            entry("flows", "key", saddr="10.1.0.2", daddr="192.0.2.1", sport=8080, dport=5000, protocol=TCP),
        ]
    ).astype(layout_of("flows", Family.IPV4).key)
    common: dict[str, Any] = {"backend_id": 2, "generation": 9, "service_id": WEB}
    values = np.concatenate(
        [
            entry(
                "flows",
                "value",
                **common,
                to_saddr="192.0.2.1",
                to_daddr="10.1.0.2",
                to_sport=5000,
                to_dport=8080,
                last_seen=NOW - 50,
                flags=FlowFlag.FORWARD | FlowFlag.SNAT,
                seen=FlowSeen.SYN | FlowSeen.DATA,
            ),
            entry(
                "flows",
                "value",
                **common,
                to_saddr="10.96.0.10",
                to_daddr="203.0.113.9",
                to_sport=80,
                to_dport=5000,
                last_seen=(NOW - 200) & 0xFFFFFFFF,
                flags=FlowFlag.FORWARD | FlowFlag.REPLY,
                seen=FlowSeen.DATA | FlowSeen.FIN,
            ),
        ]
    ).astype(layout_of("flows", Family.IPV4).value)
    return keys, values


def test_a_flow_is_told_completely(context: FlowContext) -> None:
    request, reply = decode_flows(context, *flow_pair())
    assert request == {
        "direction": "request",
        "protocol": "TCP",
        "source": "203.0.113.9:5000",
        "destination": "10.96.0.10:80",
        "to_source": "192.0.2.1:5000",
        "to_destination": "10.1.0.2:8080",
        "state": "half-closed",
        "age_s": 0.5,
        "flags": ["forward", "snat"],
        "seen": ["syn", "data"],
        "paired": True,
        "service": "default/web:http/TCP",
        "service_id": 1,
        "backend": "10.1.0.2:8080/TCP",
        "backend_id": 2,
        "generation": 9,
        "backend_alive": True,
    }
    assert (reply["direction"], reply["state"], reply["backend"]) == ("reply", "half-closed", "10.1.0.2:8080/TCP")
    assert reply["age_s"] == 2.0  # over the wrap of jiffies
    assert reply["flags"] == ["forward"]


def test_half_a_flow_and_a_lost_backend_are_seen(context: FlowContext) -> None:
    keys, values = flow_pair()
    values["generation"] = 8
    (row,) = decode_flows(context, keys[:1], values[:1])
    assert (row["paired"], row["state"], row["backend_alive"]) == (False, "unconfirmed", False)


def test_a_stamp_from_after_our_reading_of_the_clock_is_fresh(context: FlowContext) -> None:
    assert context.age_s(NOW + 5) == 0.0
    assert context.age_s(NOW) == 0.0


@pytest.mark.parametrize(("wanted", "count"), [({WEB}, 2), ({DNS}, 0), (None, 2)])
def test_flows_of_one_service(context: FlowContext, wanted: set[int] | None, count: int) -> None:
    assert len(decode_flows(dataclasses.replace(context, wanted=wanted), *flow_pair())) == count


def test_affinity_counts_down(context: FlowContext) -> None:
    value = entry("affinity", "value", backend_id=1, generation=9, last_used=NOW - 90)
    (by_address,) = decode_affinity(context, entry("affinity", "key", client="10.2.0.3", service_id=WEB), value)
    assert by_address["client_address"] == "10.2.0.3"
    assert by_address["client_netns_cookie"] is None
    assert (by_address["backend"], by_address["seconds_left"]) == ("10.1.0.1:8080/TCP", 59.1)
    key = entry("affinity", "key", netns_cookie=4711, service_id=WEB)
    old = entry("affinity", "value", backend_id=1, generation=3, last_used=(NOW - 6001) & 0xFFFFFFFF)
    (by_netns,) = decode_affinity(context, key, old)
    assert (by_netns["client_address"], by_netns["client_netns_cookie"]) == (None, 4711)
    assert (by_netns["backend"], by_netns["seconds_left"]) == (None, 0)


@pytest.mark.parametrize(
    ("dialled", "port", "service_id", "service"),
    [
        ("10.96.0.10", 80, WEB, "default/web:http/TCP"),
        ("192.0.2.1", 30080, WEB, "default/web:http/TCP"),
        ("192.0.2.1", 80, 77, None),
    ],
)
def test_a_socket_shows_what_it_dialled(
    context: FlowContext, dialled: str, port: int, service_id: int, service: str | None
) -> None:
    key = entry("sock_origins", "key", cookie=5, address="10.1.0.2", port=8080, protocol=TCP)
    value = entry(
        "sock_origins", "value", address=dialled, port=port, backend_id=2, generation=9, service_id=service_id
    )
    (row,) = decode_sock_origins(context, key, value)
    assert row["frontend"] == f"{dialled}:{port}/TCP"
    assert (row["service"], row["backend"], row["backend_alive"]) == (service, "10.1.0.2:8080/TCP", True)
    assert row["socket_cookie"] == 5


def test_a_udp_socket_shows_its_choice(context: FlowContext) -> None:
    key = entry("sock_choices", "key", cookie=6, address="10.96.0.53", port=53, protocol=UDP)
    value = entry("sock_choices", "value", backend_id=2, generation=9, service_id=DNS)
    (row,) = decode_sock_choices(context, key, value)
    assert (row["frontend"], row["service"]) == ("10.96.0.53:53/UDP", "kube-system/dns/UDP")
    assert row["backend"] == "10.1.0.2:8080/TCP"


def test_a_datagram_in_fragments_shows_its_ports_when_they_are_known(context: FlowContext) -> None:
    key = entry("datagrams", "key", saddr="203.0.113.9", daddr="10.96.0.10", id=0xBEEF, protocol=UDP)
    value = entry("datagrams", "value", sport=4000, dport=53, is_known=1, held=3, released=3, last_seen=NOW - 100)
    known = {
        "source": "203.0.113.9",
        "destination": "10.96.0.10",
        "protocol": "UDP",
        "id": 0xBEEF,
        "source_port": 4000,
        "destination_port": 53,
        "waiting": 0,
        "age_s": 1.0,
    }
    assert decode_datagrams(context, key, value) == [known]
    value = entry("datagrams", "value", held=3, released=1, last_seen=NOW - 100)
    assert decode_datagrams(context, key, value) == [
        known | {"source_port": None, "destination_port": None, "waiting": 2}
    ]


def test_a_fragment_that_waits_is_shown_without_its_contents(context: FlowContext) -> None:
    key, value = entry("held_fragments", "key", number=2), entry("held_fragments", "value", length=1514, frame=0x55)
    datagram = entry("datagrams", "key", saddr="203.0.113.9", daddr="10.96.0.10", id=7, protocol=1)
    for name in ("saddr", "daddr", "id", "protocol"):
        key["datagram"][name] = datagram[name]
    (row,) = decode_held_fragments(context, key, value)
    assert row == {
        "source": "203.0.113.9",
        "destination": "10.96.0.10",
        "protocol": "1",
        "id": 7,
        "number": 2,
        "length": 1514,
    }


def test_counters_are_named_and_summed(context: FlowContext) -> None:
    keys = np.array([Counter.FORWARDED, 4000], np.uint32)
    values = np.array([[1, 2, 3], [0, 0, 1 << 40]], np.uint64)
    assert decode_counters(context, keys, values) == [
        {"counter": "forwarded", "value": 6},
        {"counter": "counter_4000", "value": 1 << 40},
    ]


def test_marks_are_listed_by_their_numbers(context: FlowContext) -> None:
    keys, values = np.array([0, 2, 3], np.uint32), np.array([1, 0, 1 << 63 | 2], np.uint64)
    assert decode_marks(context, keys, values) == [{"bit": 0}, {"bit": 193}, {"bit": 255}]


def test_changes_are_one_row(context: FlowContext) -> None:
    values = np.array([(3, 4, 5)], layout_of("changes", Family.IPV4).value)
    assert decode_changes(context, np.zeros(1, np.uint32), values) == [{"taken_back": 3, "written": 4, "swept": 5}]


@pytest.mark.parametrize("name", sorted(FLOW_MAPS.keys() - {"counters"}))
def test_empty_maps_have_no_rows(context: FlowContext, name: str) -> None:
    layout = layout_of(name, Family.IPV6)
    assert FLOW_MAPS[name](context, np.zeros(0, layout.key), np.zeros(0, layout.value)) == []
