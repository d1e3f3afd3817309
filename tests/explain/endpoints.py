"""Which endpoints stand behind a service port, and the sets that policies and hints make of them (1.3, 1.4).

Imports nothing of ebpflb.
"""

from dataclasses import dataclass

from tests.explain.objects import HEADLESS, SERVICE_NAME, ZONE, Address, Cluster, Manifest, sloppy


@dataclass(frozen=True)
class Endpoint:
    address: Address
    port: int
    ready: bool
    serving: bool
    terminating: bool
    is_local: bool
    nodes: list[str]
    zones: list[str]

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{shown}:{self.port}"


def endpoints(cluster: Cluster, family: str, service: Manifest, port: Manifest) -> list[Endpoint]:
    found: dict[tuple[Address, int], Endpoint] = {}
    for each in _slices(cluster, service):
        for offered in each.get("ports") or []:
            same = (offered.get("name") or "", offered.get("protocol") or "TCP") == (
                port.get("name", ""),
                port.get("protocol", "TCP"),
            )
            if not same or not offered.get("port"):
                continue
            for raw in each["endpoints"]:
                endpoint = _endpoint(cluster, raw, offered["port"])
                key = (endpoint.address, endpoint.port)
                if f"IPv{endpoint.address.version}" != family:
                    continue
                if key not in found or (endpoint.is_local and not found[key].is_local):
                    found[key] = endpoint
    return list(found.values())


def _slices(cluster: Cluster, service: Manifest) -> list[Manifest]:
    mine = []
    for each in cluster.of_kind("EndpointSlice"):
        meta, labels = each["metadata"], each["metadata"].get("labels", {})
        same_namespace = meta["namespace"] == service["metadata"]["namespace"]
        if same_namespace and labels.get(SERVICE_NAME) == service["metadata"]["name"] and HEADLESS not in labels:
            mine.append(each)
    return [each for each in sorted(mine, key=lambda each: each["metadata"]["name"]) if each["addressType"] != "FQDN"]


def _endpoint(cluster: Cluster, raw: Manifest, port: int) -> Endpoint:
    conditions, hints = raw.get("conditions") or {}, raw.get("hints") or {}
    return Endpoint(
        sloppy(raw["addresses"][0]),
        port,
        ready=conditions.get("ready") is not False,
        serving=conditions.get("serving") is not False,
        terminating=conditions.get("terminating") is True,
        is_local=raw.get("nodeName") == cluster.node,
        nodes=[hint["name"] for hint in hints.get("forNodes") or []],
        zones=[hint["name"] for hint in hints.get("forZones") or []],
    )


def local_endpoints(cluster: Cluster, family: str) -> set[Address]:
    slices = [each for each in cluster.of_kind("EndpointSlice") if each["addressType"] == family]
    visible = [
        each
        for each in slices
        if HEADLESS not in each["metadata"].get("labels", {}) and SERVICE_NAME in each["metadata"].get("labels", {})
    ]
    listed = [_endpoint(cluster, raw, 0) for each in visible for raw in each["endpoints"]]
    return {endpoint.address for endpoint in listed if endpoint.is_local}


def fallback(candidates: list[Endpoint]) -> list[Endpoint]:
    return [each for each in candidates if not each.ready and each.serving and each.terminating]


def cluster_set(cluster: Cluster, candidates: list[Endpoint]) -> list[Endpoint]:
    ready = [each for each in candidates if each.ready]
    if not ready:
        return fallback(candidates)
    node = cluster.node
    if all(each.nodes for each in ready) and any(node in each.nodes for each in ready):
        return [each for each in ready if node in each.nodes]
    zone = cluster.own_node()["metadata"].get("labels", {}).get(ZONE, "")
    if zone and all(each.zones for each in ready) and any(zone in each.zones for each in ready):
        return [each for each in ready if zone in each.zones]
    return ready


def local_set(candidates: list[Endpoint]) -> list[Endpoint]:
    here = [each for each in candidates if each.is_local]
    return [each for each in here if each.ready] or fallback(here)
