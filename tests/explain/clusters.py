"""Random clusters, each with the flows that are worth asking about: the same for the same seed, on every machine.

seed --random_cluster--> Cluster(manifests, KubeProxyConfiguration, node, its further addresses, flows)
"""

from random import Random

from tests.explain.flows import flows
from tests.explain.objects import ZONE, Cluster, Manifest
from tests.explain.plan import BRIDGE, NODE, NODES, POOLS, ZONES
from tests.explain.services import Taken, service


def random_cluster(seed: int, count: int = 100) -> Cluster:
    """Return a cluster of one node's view, with ``count`` flows."""
    dice = Random(seed)
    taken: Taken = set()
    manifests = [_node(dice, name, at) for at, name in enumerate(NODES)]
    for number in range(dice.choice((1, 4, 12, 25))):
        manifests += service(dice, number, taken)
    manifests += _service_cidrs(dice)
    dice.shuffle(manifests)
    cluster = Cluster(manifests, _config(dice), NODE, _node_addresses(dice))
    return Cluster(cluster.manifests, cluster.config, NODE, cluster.node_addresses, flows(dice, cluster, count))


def _node(dice: Random, name: str, at: int) -> Manifest:
    families = dice.choice(((4,), (6,), (4, 6), (4, 6), (6, 4)))
    addresses = [{"type": "Hostname", "address": name}]
    for each in families:
        listed = [("InternalIP", POOLS[each].primary), ("ExternalIP", POOLS[each].second)]
        if name != NODE:
            listed = [("InternalIP", POOLS[each].primary.replace("1", str(at + 1), 1))]
        addresses += [{"type": kind, "address": text} for kind, text in reversed(listed)]
    node: Manifest = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {ZONE: ZONES[at]} if dice.random() < 0.8 else {}},
        "spec": {},
        "status": {"addresses": addresses},
    }
    if name == NODE and dice.random() < 0.8:
        node["spec"]["podCIDRs"] = [POOLS[each].pod_cidr for each in families]
    return node


def _service_cidrs(dice: Random) -> list[Manifest]:
    families = dice.choice(((4,), (6,), (4, 6), (4, 6)))
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": f"range-{at}"},
            "spec": {"cidrs": [POOLS[each].service_cidrs[at] for each in families]},
        }
        for at in range(dice.choice((0, 1, 1, 2)))
    ]


def _node_addresses(dice: Random) -> list[str]:
    every = [text for pool in POOLS.values() for text in pool.extra]
    return dice.sample(every, dice.randrange(len(every) + 1))


def _config(dice: Random) -> Manifest:
    config: Manifest = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
    mode = dice.choice(("", "ClusterCIDR", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"))
    if mode:
        config["detectLocalMode"] = mode
    if mode in ("", "ClusterCIDR"):
        families = dice.choice(((), (4,), (6,), (4, 6), (4, 6)))
        config["clusterCIDR"] = ",".join(POOLS[each].cluster_cidr for each in families)
    if mode in ("BridgeInterface", "InterfaceNamePrefix"):
        config["detectLocal"] = {"bridgeInterface": BRIDGE, "interfaceNamePrefix": "veth"}
    config["iptables"] = {"localhostNodePorts": dice.random() < 0.8}
    config["mode"] = dice.choice(("", "iptables", "nftables"))
    for section in ("iptables", "nftables"):
        config.setdefault(section, {})["masqueradeAll"] = dice.random() < 0.2
    allowed = dice.choice(("unset", "unset", "primary", "ranges", "ranges"))
    if allowed == "primary":
        config["nodePortAddresses"] = ["primary"]
    if allowed == "ranges":
        config["nodePortAddresses"] = [text for pool in POOLS.values() for text in dice.choice(pool.node_ranges)]
    config["ebpflb"] = {"forwarding": dice.choice(("snat", "snat", "dsr", "hybrid"))}
    return config
