"""loadBalancerSourceRanges at the packet hooks: who is in a range comes in, all others are dropped and counted."""

import pytest

from ebpflb.core.abi import Counter, FrontendKind
from tests.prog.harness import Hook
from tests.prog.lab import Lab, delivers, drops
from tests.prog.services import Service
from tests.prog.wire import Wire

pytestmark = pytest.mark.root


def balancer(*ranges: tuple[str, int]) -> Service:
    return Service("balancer:80", ("pod",), FrontendKind.LOAD_BALANCER, source_ranges=ranges)


@pytest.mark.parametrize("bits", [32, 31, 24, 0])
def test_a_client_in_a_range_comes_in(lab: Lab, bits: int) -> None:
    lab.load(balancer(("client", bits)))
    lab.play(
        delivers(Hook.UPLINK_IN, Wire("client:4000", "balancer:80"), Wire("client:4000", "pod:8080")).opening(),
    )


def test_a_client_outside_is_dropped_at_every_hook(lab: Lab) -> None:
    lab.load(balancer(("client", 32), ("remote", 24)))
    lab.play(
        drops(Hook.UPLINK_IN, Wire("client2:4000", "balancer:80"), Counter.DROP_SOURCE_RANGE),
        drops(Hook.POD_IN, Wire("pod:4000", "balancer:80"), Counter.DROP_SOURCE_RANGE),
    )
    assert not lab.datapath.flows()


def test_another_services_range_admits_nobody_here(lab: Lab) -> None:
    lab.load(
        balancer(("client2", 32)),
        Service("external:80", ("pod",), FrontendKind.LOAD_BALANCER, id=2, source_ranges=(("client", 32),)),
    )
    lab.play(drops(Hook.UPLINK_IN, Wire("client:4000", "balancer:80"), Counter.DROP_SOURCE_RANGE))


def test_an_established_flow_is_not_asked_again(tcp: Lab) -> None:
    tcp.load(balancer(("client", 32)))
    tcp.run(Hook.UPLINK_IN, Wire("client:4000", "balancer:80"))
    tcp.load(balancer(("client2", 32)))
    tcp.play(
        delivers(
            Hook.UPLINK_IN, Wire("client:4000", "balancer:80", flags="A"), Wire("client:4000", "pod:8080", flags="A")
        )
    )
