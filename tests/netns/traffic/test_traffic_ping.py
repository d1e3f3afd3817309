"""Pings to a Service's address: answered from there while it has backends, whoever asks, and by the stack elsewhere."""

import json
from itertools import product
from typing import Any

import pytest

from ebpflb.core.abi import Counter, Family
from tests.netns.traffic.datagrams import SECONDS
from tests.netns.traffic.wide import Wide

pytestmark = pytest.mark.root

CALLERS = ("outside", "far", "covered", "uncovered", "host")
KINDS = ("ClusterIP", "external IP", "balancer IP")
REPLY = {Family.IPV4: 0, Family.IPV6: 129}
SILENCE = 2.0
"""Seconds. Who hears nothing for so long gets no answer."""
TIME_EXCEEDED = {Family.IPV4: 11, Family.IPV6: 3}


def pinged(wide: Wide, caller: str, address: str, *numbers: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Return what a ping from a place met; ``numbers``: TTL and length."""
    arguments = [address, str(seconds), *(str(number) for number in numbers)]
    answer: dict[str, Any] = json.loads(wide.place(caller).run_module("tests.netns.traffic.ping", arguments))
    return answer


@pytest.mark.parametrize(
    ("caller", "kind", "offer"),
    [*product(CALLERS, KINDS, ["remote"]), *product(["outside"], KINDS, ["local", "dsr-remote"])],
)
def test_a_ping_to_a_service_is_answered_from_its_address(
    wide: Wide, family: Family, caller: str, kind: str, offer: str
) -> None:
    address, _ = wide.dialled(offer, kind, family)
    before = wide.counters(1, family)[Counter.ECHO_ANSWERED]
    assert pinged(wide, caller, address) == {"type": REPLY[family], "source": address, "intact": True}
    assert wide.counters(1, family)[Counter.ECHO_ANSWERED] == before + 1


@pytest.mark.parametrize("length", [0, 1, 1400])
def test_a_ping_of_any_length_comes_back_as_it_was(wide: Wide, family: Family, length: int) -> None:
    address, _ = wide.dialled("remote", "balancer IP", family)
    assert pinged(wide, "outside", address, 64, length)["intact"]


@pytest.mark.parametrize("caller", CALLERS)
def test_a_service_without_backends_answers_no_ping(wide: Wide, family: Family, caller: str) -> None:
    address, _ = wide.dialled("nobody", "ClusterIP", family)
    assert pinged(wide, caller, address, seconds=SILENCE).get("type") != REPLY[family]


@pytest.mark.parametrize("caller", CALLERS)
def test_the_nodes_own_stack_answers_for_the_node(wide: Wide, family: Family, caller: str) -> None:
    address = wide.lab.node(1).address_of(family)
    before = wide.counters(1, family)[Counter.ECHO_ANSWERED]
    assert pinged(wide, caller, address) == {"type": REPLY[family], "source": address, "intact": True}
    assert wide.counters(1, family)[Counter.ECHO_ANSWERED] == before


def test_a_ping_whose_time_runs_out_on_the_way_hears_from_the_router(wide: Wide, family: Family) -> None:
    address, _ = wide.dialled("remote", "balancer IP", family)
    answer = pinged(wide, "far", address, 1)
    assert (answer["type"], answer["source"]) == (TIME_EXCEEDED[family], wide.router.address_of(family))
    assert pinged(wide, "far", address, 2)["type"] == REPLY[family]
