"""Asks a node over real HTTP, from whatever namespace, and makes the Services that have something to say.

Place, address, port, path -> fetch -> Answer            pods by how they are -> balanced -> Service, EndpointSlice
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.topology import Place, Pod
from ebpflb.host.namespaces import in_each
from tests.kube.store import Object
from tests.netns.life_helpers import slice_of, tcp_service

SECONDS = 60.0
"""A probe that is kept out waits in vain: more than it takes on a busy machine is no matter."""
CHECK_PORT = 32100
HEALTHZ, METRICS = 10256, 10249
LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What came back; code 0: nobody listens."""

    code: int = 0
    headers: Mapping[str, str] | None = None
    body: str = ""

    def header(self, name: str) -> str | None:
        return (self.headers or {}).get(name)

    def json(self) -> Any:
        return json.loads(self.body)


def fetch(place: Place, address: str, port: int, path: str = "/", method: str = "GET") -> Answer:
    """Ask from the namespace of a place."""

    def ask() -> Answer:
        with closing(HTTPConnection(address, port, timeout=SECONDS)) as connection:
            try:
                connection.request(method, path)
                response = connection.getresponse()
                return Answer(response.status, dict(response.headers), response.read().decode())
            except ConnectionError:
                return Answer()

    return next(in_each([namespace_path(place.netns)], ask))


def balanced(
    name: str, ip: str, *pods: Pod, leaving: Sequence[Pod] = (), node_port: int = 30100, **spec: Any
) -> list[Object]:
    """Return a load balancer's Service with local policy, and its slice; ``leaving`` terminate and serve."""
    asked = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": CHECK_PORT}
    listed = slice_of(name, *pods, *leaving)
    gone = {pod.address for pod in leaving}
    for endpoint in listed["endpoints"]:
        is_leaving = endpoint["addresses"][0] in gone
        endpoint["conditions"] = {"ready": not is_leaving, "serving": True, "terminating": is_leaving}
    return [tcp_service(name, ip, node_port, **asked | spec), listed]


def a_node(name: str, **spec: Any) -> Object:
    """Return a Node object, with something about it: one of which nothing is known counts as gone."""
    metadata = {"name": name, "labels": {"topology.kubernetes.io/zone": "a"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}
