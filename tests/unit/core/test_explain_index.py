from ipaddress import ip_address, ip_network
from random import Random

import numpy as np
import pytest

from ebpflb.core.abi import BackendFlag, BackendState, Family, Protocol
from ebpflb.core.explain_index import Index, Prefixes
from ebpflb.core.model import parse_address
from ebpflb.core.tables import Backend, BackendKey, Prefix, Range, Tables


def prefix(text: str) -> Prefix:
    network = ip_network(text)
    return Prefix(network.network_address.packed, network.prefixlen)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.4", "10.1.2.0/24"),
        ("10.1.3.4", "10.0.0.0/8"),
        ("11.1.3.4", "0.0.0.0/0"),
    ],
)
def test_the_longest_prefix_is_found(address: str, found: str) -> None:
    texts = ("10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "10.1.2.0/24")
    assert Prefixes(map(prefix, texts)).find(parse_address(address)) == prefix(found)


def test_no_prefix_contains_it() -> None:
    assert Prefixes([]).find(parse_address("10.0.0.1")) is None
    assert Prefixes([prefix("fd00::/64")]).find(parse_address("fd01::1")) is None


def test_ten_thousand_prefixes_answer_as_one_by_one() -> None:
    dice = Random(4)
    texts = {ip_network((dice.randrange(1 << 32), dice.randrange(8, 33)), strict=False) for _ in range(10_000)}
    prefixes = Prefixes(Prefix(each.network_address.packed, each.prefixlen) for each in texts)
    for number in (dice.randrange(1 << 32) for _ in range(100)):
        address = ip_address(number)
        within = [each.prefixlen for each in texts if address in each]
        found = prefixes.find(address.packed)
        assert (found.length if found else None) == max(within, default=None)


def test_a_range_names_each_backend_once() -> None:
    def backend(ip: str) -> Backend:
        return Backend(BackendKey(parse_address(ip), 80, Protocol.TCP), BackendState.ACTIVE, BackendFlag(0), 1)

    where = Range(16, 6)
    rows = {1: backend("10.0.0.1"), 2: backend("10.0.0.2")}
    index = Index(Tables(Family.IPV4, backends=rows, slots={where: np.array([2, 1, 2, 2, 1, 7], np.uint32)}))
    assert index.backends_in(where) == (rows[1], rows[2])
    assert index.backends_in(where) == (rows[1], rows[2])
    assert index.backends_in(Range(32, 1)) == ()


@pytest.mark.parametrize(
    ("name", "service", "port_name"),
    [
        ("shop/web:http/TCP", "shop/web", "http"),
        ("shop/web/UDP", "shop/web", ""),
    ],
)
def test_names_of_service_ports(name: str, service: str, port_name: str) -> None:
    index = Index(Tables(Family.IPV4, services={7: name}))
    assert index.name_of(7) == (service, port_name)
    assert index.name_of(8) == ("", "")
    assert index.owner_of(parse_address("10.96.0.1")) == ""
