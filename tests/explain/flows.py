"""The flows of a random cluster: every address and port that means something, asked from everywhere, and near misses.

Dice, Cluster --flows--> {"from", "to", "port", "proto"[, "device"]}...
"""

from random import Random

from tests.explain.objects import SERVICE_NAME, Cluster, Manifest, cluster_ips, object_addresses, sloppy, vips
from tests.explain.plan import BRIDGE, OTHER_DEVICES, POD_DEVICES, POOLS, Pool

PROTOCOLS = ("TCP", "UDP", "SCTP")


def flows(dice: Random, cluster: Cluster, count: int) -> list[Manifest]:
    """Return so many flows."""
    targets = [target for service in cluster.of_kind("Service") for target in _targets(dice, cluster, service)]
    return [_flow(dice, cluster, targets) for _ in range(count)]


def _targets(dice: Random, cluster: Cluster, service: Manifest) -> list[Manifest]:
    """Return what a Service may be dialled by, whether or not it is served there."""
    loopback = [pool.loopback for pool in POOLS.values()]
    own = dice.sample([*object_addresses(cluster), *cluster.node_addresses, *loopback], 2)
    own += 2 * [text for text in object_addresses(cluster) if text in {pool.primary for pool in POOLS.values()}]
    spec = service["spec"]
    addresses = (
        [text for text in cluster_ips(service) if text != "None"] + vips(service) * 2 + spec.get("externalIPs", [])
    )
    found = []
    for port in spec["ports"]:
        protocol = port.get("protocol", "TCP")
        found += [{"to": text, "port": port["port"], "proto": protocol} for text in addresses]
        if "nodePort" in port:
            found += [{"to": text, "port": port["nodePort"], "proto": protocol} for text in own]
    families = {sloppy(text).version for text in cluster_ips(service) if text != "None"}
    found = [target for target in found if sloppy(target["to"]).version in families or dice.random() < 0.2]
    mine = _local_endpoints(cluster, service["metadata"]["name"])
    found = [{**target, "endpoints": mine} for target in found]
    if "healthCheckNodePort" in spec:
        asked = (dice.choice(own), dice.choice(object_addresses(cluster)), dice.choice(loopback))
        found += [{"to": text, "port": spec["healthCheckNodePort"], "proto": "TCP"} for text in asked]
    return found


def _flow(dice: Random, cluster: Cluster, targets: list[Manifest]) -> Manifest:
    chance = dice.random()
    if targets and chance < 0.85:
        target = dict(dice.choice(targets))
        if chance > 0.7:  # a near miss
            target.update(dice.choice(({"port": dice.randrange(40, 110)}, {"proto": dice.choice(PROTOCOLS)})))
    else:
        pool = dice.choice([*POOLS.values()])
        nobodys = (*pool.unused, *pool.unused, *pool.strangers, pool.primary, pool.pod.format(1, 12), pool.loopback)
        target = {"to": dice.choice(nobodys), "port": dice.choice((80, 8080, 30001)), "proto": dice.choice(PROTOCOLS)}
    destination = sloppy(target["to"])
    source, device = _source(dice, cluster, str(destination))
    itself = [text for text in target.get("endpoints", ()) if sloppy(text).version == destination.version]
    if itself and dice.random() < 0.15:
        source, device = str(sloppy(dice.choice(itself))), dice.choice((BRIDGE, *POD_DEVICES))
    flow = {"from": source, "to": str(destination), "port": target["port"], "proto": target["proto"]}
    # Where networks tell who is a pod, a device's name says nothing, and is named all the same.
    by_device = cluster.config.get("detectLocalMode", "") in ("BridgeInterface", "InterfaceNamePrefix")
    if device and dice.random() < (0.7 if by_device else 0.3):
        flow["device"] = device
    return flow


def _source(dice: Random, cluster: Cluster, destination: str) -> tuple[str, str]:
    """Return who asks, and by which device that comes in; empty: by none, it is the node's own."""
    version, is_loopback = sloppy(destination).version, sloppy(destination).is_loopback
    pool = POOLS[version]
    own = [text for text in (*object_addresses(cluster), *cluster.node_addresses) if sloppy(text).version == version]
    if is_loopback:
        return (pool.loopback, "") if dice.random() < 0.7 else (dice.choice([*own, pool.client.format(3)]), "")
    if own and dice.random() < (0.5 if destination in own else 0.2):
        return dice.choice(own), ""
    pod_device = dice.choice((BRIDGE, *POD_DEVICES))
    chance = dice.random()
    if chance < 0.45:
        return _pod(dice, cluster, pool, version), pod_device
    if chance < 0.6:
        return pool.pod.format(dice.choice((2, 3)), dice.randrange(10, 26)), dice.choice(OTHER_DEVICES)
    if chance < 0.7:
        return pool.vip.format(dice.choice((1, 2))), dice.choice(OTHER_DEVICES)
    return pool.client.format(dice.choice((3, 9, 200))), dice.choice(OTHER_DEVICES)


def _pod(dice: Random, cluster: Cluster, pool: Pool, version: int) -> str:
    """Return a pod of this node, often an endpoint itself."""
    listed = [text for text in map(sloppy, _local_endpoints(cluster)) if text.version == version]
    return str(dice.choice(listed)) if listed and dice.random() < 0.6 else pool.pod.format(1, dice.randrange(10, 26))


def _local_endpoints(cluster: Cluster, service: str = "") -> list[str]:
    """Return the addresses of endpoints on this node, of one Service if it is named."""
    return [
        endpoint["addresses"][0]
        for each in cluster.of_kind("EndpointSlice")
        if service in ("", each["metadata"]["labels"][SERVICE_NAME])
        for endpoint in each["endpoints"]
        if endpoint.get("nodeName") == cluster.node
    ]
