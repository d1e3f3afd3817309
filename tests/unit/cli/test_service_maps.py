import dataclasses

import numpy as np
import pytest

from ebpflb.cli.service_maps import (
    SERVICE_MAPS,
    decode_backends,
    decode_frontends,
    decode_local_backends,
    decode_members,
    decode_services,
    decode_slots,
    decode_source_ranges,
)
from ebpflb.core.abi import Family
from ebpflb.core.tables import Range, Tables
from tests.unit.cli.worlds import CLUSTER, DNS, WEB, tables


def test_a_frontend_says_where_it_leads() -> None:
    node_port, address, web, _, dns = decode_frontends(tables())
    assert web == {
        "frontend": "10.96.0.10:80/TCP",
        "address": "10.96.0.10",
        "port": 80,
        "protocol": "TCP",
        "service": "default/web:http/TCP",
        "service_id": 1,
        "kind": "ClusterIP",
        "algorithm": "random",
        "policy": "Cluster",
        "has_backends": True,
        "options": [],
        "affinity_timeout_s": 60,
        "cluster": {
            "offset": 16,
            "length": 5,
            "backends": ["10.1.0.1:8080/TCP", "10.1.0.2:8080/TCP", "10.1.0.3:8080/TCP", "10.1.0.4:8080/TCP"],
        },
        "local": {"offset": 16, "length": 1, "backends": ["10.1.0.1:8080/TCP"]},
    }
    assert (node_port["frontend"], node_port["kind"]) == ("0.0.0.0:30080/TCP", "NodePort")
    assert (node_port["algorithm"], node_port["policy"], node_port["options"]) == ("maglev", "Local", ["dsr"])
    assert (address["frontend"], address["kind"], address["has_backends"]) == ("10.96.0.10", "Address", True)
    assert (address["service_id"], address["algorithm"], address["policy"]) == (None, None, None)
    assert (dns["kind"], dns["has_backends"]) == ("ExternalIP", False)
    assert dns["cluster"] == {"offset": 0, "length": 0, "backends": []}


def test_a_backend_says_its_state() -> None:
    rows = decode_backends(tables())
    assert rows[0] == {
        "backend_id": 1,
        "backend": "10.1.0.1:8080/TCP",
        "address": "10.1.0.1",
        "port": 8080,
        "protocol": "TCP",
        "state": "active",
        "local": True,
        "generation": 9,
    }
    assert (rows[4]["state"], rows[4]["local"]) == ("draining", False)


def test_a_range_names_its_users_and_its_distribution() -> None:
    local, cluster = decode_slots(tables())
    assert (local["offset"], local["length"]) == (16, 1)
    assert cluster["frontends"] == ["0.0.0.0:30080/TCP", "10.96.0.10:80/TCP"]
    assert [(share["backend_id"], share["slots"]) for share in cluster["distribution"]] == [
        (1, 2),
        (2, 1),
        (3, 1),
        (4, 1),
    ]


def test_a_slot_without_a_live_backend_is_shown() -> None:
    broken = dataclasses.replace(tables(), slots={CLUSTER: np.array([3, 77, 77, 77, 77], np.uint32)})
    distribution = decode_slots(broken)[1]["distribution"]
    assert distribution[1] == {"backend": None, "backend_id": 77, "slots": 4}


def test_a_range_outside_the_map_has_no_backends() -> None:
    broken = dataclasses.replace(tables(), slots={})
    assert [row["distribution"] for row in decode_slots(broken)] == [[], []]
    assert Range(decode_frontends(broken)[2]["cluster"]["offset"], 5) == CLUSTER


def test_services_and_members() -> None:
    assert decode_services(tables()) == [
        {"service_id": 1, "service": "default/web:http/TCP", "frontends": 2},
        {"service_id": 2, "service": "kube-system/dns/UDP", "frontends": 1},
    ]
    assert [(row["backend"], row["sets"]) for row in decode_members(tables())] == [
        ("10.1.0.1:8080/TCP", ["cluster", "local", "serving"]),
        ("10.1.0.2:8080/TCP", ["cluster", "serving"]),
        ("10.1.0.5:8080/TCP", ["serving"]),
    ]


def test_what_names_a_service_port_names_it_in_words() -> None:
    of_web = {"service": "default/web:http/TCP", "service_id": WEB}
    backend = {"address": "10.1.0.1", "backend": "10.1.0.1:8080/TCP", "backend_id": 1}
    assert decode_local_backends(tables()) == [of_web | backend]
    assert decode_source_ranges(tables()) == [of_web | {"range": "192.0.2.0/24"}]


@pytest.mark.parametrize(
    ("wanted", "counts"), [({WEB}, (3, 5, 2, 1, 3, 1, 1)), ({DNS}, (2, 0, 0, 1, 0, 0, 0)), (set(), (0,) * 7)]
)
def test_of_one_service_only_what_it_uses(wanted: set[int], counts: tuple[int, ...]) -> None:
    names = ("frontends", "backends", "slots", "services", "members", "local_backends", "source_ranges")
    assert tuple(len(SERVICE_MAPS[name](tables(), wanted)) for name in names) == counts


@pytest.mark.parametrize("name", SERVICE_MAPS)
def test_empty_maps_have_no_rows(name: str) -> None:
    assert SERVICE_MAPS[name](Tables(Family.IPV6), None) == []
