import dataclasses

import pytest

from ebpflb.cli.node_maps import (
    NODE_MAPS,
    decode_config,
    decode_devices,
    decode_node_addrs,
    decode_opt_outs,
    decode_service_cidrs,
)
from ebpflb.core.abi import ConfigFlag, Family
from ebpflb.core.tables import Tables
from tests.unit.cli.worlds import tables


def test_the_nodes_addresses_and_opt_outs() -> None:
    assert decode_node_addrs(tables()) == [
        {"address": "192.0.2.1", "flags": ["node_ports"]},
        {"address": "192.0.2.2", "flags": []},
    ]
    assert decode_opt_outs(tables()) == [{"netns_cookie": 4711}]


def test_what_holds_for_every_service() -> None:
    assert decode_service_cidrs(tables()) == [{"range": "10.96.0.0/16"}]
    (row,) = decode_config(tables())
    assert row == {
        "flags": ["detect_by_network", "loopback_node_ports"],
        "pods": "10.1.0.0/16",
        "guard": "10.96.0.0/16",
    }
    flags = ConfigFlag.WRITTEN | ConfigFlag.DETECT_BY_DEVICE
    by_device = {0: tables().config[0]._replace(flags=flags)}
    (row,) = decode_config(dataclasses.replace(tables(), config=by_device))
    assert (row["flags"], row["pods"]) == (["detect_by_device"], None)


def test_a_device_that_is_gone_has_no_name() -> None:
    def name_of(ifindex: int) -> str:
        if ifindex == 7:
            return "eth7"
        raise OSError

    assert decode_devices(tables(), name_of=name_of) == [
        {"ifindex": 7, "device": "eth7", "snat_address": "192.0.2.1", "mtu": 9000, "flags": ["xdp"]},
        {"ifindex": 8, "device": None, "snat_address": None, "mtu": 1500, "flags": []},
    ]


@pytest.mark.parametrize("name", NODE_MAPS)
def test_empty_maps_have_no_rows(name: str) -> None:
    assert NODE_MAPS[name](Tables(Family.IPV6)) == []
