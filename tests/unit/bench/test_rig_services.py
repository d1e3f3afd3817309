"""The rig's Services: the same to kube-proxy's rules and to the agent; dialled from all over."""

import json

from ebpflb.bench.rig_services import addresses, make_services, manifests, node_manifest, service_address

ENDPOINTS = [("10.244.1.12", 7000), ("10.244.1.13", 7000)]
NODE_OF = {"10.244.1.12": "node-1", "10.244.1.13": "node-2"}


def test_dialled_services_come_from_all_over() -> None:
    services = make_services(10_000, ENDPOINTS)
    places = sorted(int(each.name.removeprefix("bench/s").removesuffix(":main")) for each in services)
    assert places == list(range(10_000))
    dialled = addresses(services, 10)
    assert sorted(dialled) == sorted(f"{service_address(number)}:80" for number in range(500, 10_000, 1_000))
    assert dialled != sorted(dialled)
    assert dialled == addresses(services, 10), "every mode dials the same in the same order"


def test_fewer_services_than_asked_for_are_dialled_once_each() -> None:
    assert sorted(addresses(make_services(3, ENDPOINTS), 10)) == [
        f"{service_address(number)}:80" for number in range(3)
    ]


def test_manifests_say_what_the_rules_say() -> None:
    services = make_services(2, ENDPOINTS, "udp")
    items = json.loads(manifests(services, NODE_OF))["items"]
    assert [item["kind"] for item in items] == ["Service", "EndpointSlice"] * 2
    assert [item["spec"]["clusterIP"] for item in items[::2]] == [each.address for each in services]
    for service, endpoint_slice in zip(items[::2], items[1::2], strict=True):
        assert service["spec"]["ports"] == [{"name": "main", "port": 80, "protocol": "UDP"}]
        assert endpoint_slice["metadata"]["labels"] == {"kubernetes.io/service-name": service["metadata"]["name"]}
        assert endpoint_slice["ports"] == [{"name": "main", "port": 7000, "protocol": "UDP"}]
        assert [(each["addresses"], each["nodeName"]) for each in endpoint_slice["endpoints"]] == [
            ([address], node) for address, node in NODE_OF.items()
        ]


def test_a_node_has_its_address_and_its_pods() -> None:
    node = json.loads(node_manifest("node-1", "192.168.100.1", "10.244.1.0/24"))
    assert node["spec"]["podCIDR"] == "10.244.1.0/24"
    assert node["status"]["addresses"] == [{"type": "InternalIP", "address": "192.168.100.1"}]
