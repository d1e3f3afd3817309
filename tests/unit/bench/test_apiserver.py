"""The bench's API server: what it shows is what the agent's own client reads, page by page and change by change."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
import urllib3

from ebpflb.bench.apiserver_objects import (
    MAX_ENDPOINTS,
    Scale,
    endpoint_addresses,
    node_json,
    peer_service,
    service_address,
    service_json,
    slice_json,
)
from ebpflb.bench.apiserver_process import Server, Store
from ebpflb.core.abi import Protocol
from ebpflb.core.manifest import Invisible, convert_node, convert_service, convert_slice

SLICES = "/apis/discovery.k8s.io/v1/endpointslices"


@contextmanager
def serving(services: int, endpoints: int) -> Iterator[tuple[Store, str]]:
    store = Store(Scale(services, endpoints), "node-1", "192.0.2.1")
    server = Server(store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_objects_are_what_the_agent_reads() -> None:
    service, found = convert_service(service_json(3)), convert_slice(slice_json(3, 10))
    assert not isinstance(service, Invisible)
    assert not isinstance(found, Invisible)
    assert [str(ip_address(address)) for address in service.cluster_ips] == [service_address(3)]
    assert found.service_name == service.name
    addresses = [str(ip_address(endpoint.address)) for endpoint in found.endpoints]
    assert addresses == list(endpoint_addresses(3, 10))
    assert not isinstance(convert_node(node_json("node-1", "192.0.2.1")), Invisible)


def test_addresses_of_different_services_are_different() -> None:
    every = [
        address
        for number in range(50)
        for is_changed in (False, True)
        for address in endpoint_addresses(number, MAX_ENDPOINTS, is_changed=is_changed)
    ]
    assert len(set(every)) == 50 * (MAX_ENDPOINTS + 1)


def test_a_change_exchanges_one_endpoint() -> None:
    before, after = endpoint_addresses(7, 10), endpoint_addresses(7, 10, is_changed=True)
    assert before[1:] == after[1:]
    assert before[0] != after[0]


def test_the_peer_has_the_same_services() -> None:
    peer = peer_service(7, 10, is_changed=True)
    assert peer.address == service_address(7)
    assert [address for address, _ in peer.endpoints] == list(endpoint_addresses(7, 10, is_changed=True))
    assert peer.protocol == Protocol.TCP.name.lower()


def test_a_cluster_without_addresses_is_refused() -> None:
    with pytest.raises(ValueError, match="no addresses"):
        Scale(10, MAX_ENDPOINTS + 1)


def test_pages_hold_every_object_once() -> None:
    with serving(7, 1) as (_, url):
        names, place = [], "0"
        while place:
            page = urllib3.request("GET", f"{url}{SLICES}?limit=3&continue={place}").json()
            names += [item["metadata"]["name"] for item in page["items"]]
            place = page["metadata"].get("continue", "")
    assert len(names) == len(set(names)) == 7


def test_a_watch_hears_what_happened_since_its_version_and_what_happens() -> None:
    with serving(2, 2) as (store, url):
        version = urllib3.request("GET", f"{url}{SLICES}").json()["metadata"]["resourceVersion"]
        store.change(0)
        response = urllib3.request(
            "GET", f"{url}{SLICES}?watch=true&resourceVersion={version}", preload_content=False, timeout=60
        )
        first = json.loads(response.readline())
        store.change(1)
        second = json.loads(response.readline())
        store.change(1)
        third = json.loads(response.readline())
        response.close()
    assert [event["type"] for event in (first, second, third)] == ["MODIFIED"] * 3
    changed = [event["object"]["endpoints"][0]["addresses"][0] for event in (first, second, third)]
    assert changed == [
        endpoint_addresses(0, 2, is_changed=True)[0],
        endpoint_addresses(1, 2, is_changed=True)[0],
        endpoint_addresses(1, 2)[0],
    ]


def test_unknown_collections_are_not_found_and_events_are_taken() -> None:
    with serving(1, 1) as (_, url):
        assert urllib3.request("GET", f"{url}/api/v1/secrets").status == 404
        assert (
            urllib3.request("POST", f"{url}/apis/events.k8s.io/v1/namespaces/default/events", body=b"{}").status == 201
        )


def test_the_process_says_when_a_change_was_written() -> None:
    command = [sys.executable, "-m", "ebpflb.bench.apiserver_process", "--services", "1", "--endpoints", "1"]
    done = subprocess.run(
        [*command, "--node", "node-1", "--address", "192.0.2.1"],
        input="change 1 0\nchange 2 0\n",
        capture_output=True,
        text=True,
        check=True,
    )
    listening, first, second = done.stdout.splitlines()
    assert listening.startswith("listening ")
    assert first.startswith("changed 1 ")
    assert int(first.split()[2]) < int(second.split()[2])
