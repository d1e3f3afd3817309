"""The real agent between the bench's API server and the maps: small, but the whole way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.agent_run import AgentInstance
from ebpflb.bench.apiserver import ApiServer
from ebpflb.bench.apiserver_objects import (
    SERVICE_PORT,
    Scale,
    endpoint_addresses,
    peer_service,
    peer_services,
    service_address,
)
from ebpflb.bench.landing import Landing
from ebpflb.bench.netfilter_load import MODES, ProxyMode, load_rules
from ebpflb.bench.topology import Lab
from ebpflb.errors import EbpflbError

pytestmark = pytest.mark.root

SCALE = Scale(3, 2)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("control", nodes=1, pods_per_node=1) as standing:
        yield standing


def test_a_change_is_seen_in_the_maps_after_its_event(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(1)
    with ApiServer(node, SCALE) as server:
        source = ("--kubeconfig", str(server.write_kubeconfig(tmp_path / "kubeconfig")))
        instance = AgentInstance(node, lab.id, source, tmp_path / "state")
        try:
            agent = instance.start()
            assert agent.seconds_to_attached(devices=2) > 0
            assert agent.seconds_to_ready() > 0
            with Landing(instance.pins) as landing:
                for number in range(SCALE.services):
                    landing.await_addresses((service_address(number), SERVICE_PORT), endpoint_addresses(number, 2))
                order = server.order_change(1)
                wanted = endpoint_addresses(1, 2, is_changed=True)
                landed_ns = landing.await_addresses((service_address(1), SERVICE_PORT), wanted)
                assert agent.began_ns < server.written_ns(order) < landed_ns
            assert agent.peak_bytes() > 1 << 20
            agent.stop()
        finally:
            instance.cleanup()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_peers_load_everything_and_then_a_change(lab: Lab, mode: ProxyMode) -> None:
    services = list(peer_services(SCALE))
    place = lab.node(1)
    changed = mode.change(services, peer_service(1, 2, is_changed=True))
    if mode.name != "iptables-legacy":
        with pytest.raises(EbpflbError, match="failed"):
            load_rules(place, mode, f"{changed}nonsense\n")
    assert load_rules(place, mode, mode.whole(services)) > 0
    assert load_rules(place, mode, changed) > 0
    listing = {"nftables": ["nft", "list", "table", "ip", "kube-proxy"]}
    kind = mode.name.removeprefix("iptables-")
    shown = place.run(listing.get(mode.name, [f"iptables-{kind}-save", "-t", "nat"])).stdout
    assert endpoint_addresses(1, 2, is_changed=True)[0] in shown
