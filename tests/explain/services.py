"""Random Services with their EndpointSlices, in every combination that the API server accepts and in some it does not.

Dice, number, what is taken --service--> manifests of one Service
"""

from random import Random

from tests.explain.objects import HEADLESS, PROXY_NAME, SERVICE_NAME, Manifest
from tests.explain.plan import NODES, POOLS, ZONES

Taken = set[tuple[str, int, str]]
"""Addresses with port and protocol that some Service has, and NodePorts with an empty address."""


def service(dice: Random, number: int, taken: Taken) -> list[Manifest]:
    """Return a Service and its slices. No two Services claim the same frontend."""
    families = dice.choice(((4,), (4,), (6,), (4, 6), (6, 4)))
    kind = dice.choice(("ClusterIP",) * 4 + ("NodePort",) * 3 + ("LoadBalancer",) * 5 + ("ExternalName",))
    ports = _ports(dice, kind, taken)
    name, namespace = f"svc{number}", dice.choice(("default", "shop"))
    spec: Manifest = {"type": kind, "ports": ports}
    _give_cluster_ips(dice, spec, number, families)
    for policy, odds in (("internalTrafficPolicy", 0.3), ("externalTrafficPolicy", 0.5)):
        if dice.random() < odds:
            spec[policy] = "Local"
    numbers = [(port["port"], port.get("protocol", "TCP")) for port in ports]
    if dice.random() < 0.3:
        spec["externalIPs"] = _free(dice, _externals(dice, number), numbers, taken)
    made: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": _labels(dice)},
        "spec": spec,
    }
    if kind == "LoadBalancer":
        _give_balancer(dice, made, number, numbers, taken)
    return [made, *_slices(dice, made)]


def _labels(dice: Random) -> dict[str, str]:
    labels = {"app": "x"}
    if dice.random() < 0.06:
        labels[dice.choice((PROXY_NAME, HEADLESS))] = dice.choice(("", "other"))
    return labels


def _ports(dice: Random, kind: str, taken: Taken) -> list[Manifest]:
    count = dice.choice((1, 1, 2, 3))
    shared = dice.randrange(50, 60)
    ports: list[Manifest] = []
    for at in range(count):
        protocol = dice.choice(("TCP", "TCP", "UDP", "SCTP"))
        number = shared if dice.random() < 0.4 else dice.randrange(80, 100)
        if any((port["port"], port.get("protocol", "TCP")) == (number, protocol) for port in ports):
            number += 1000 + at
        port: Manifest = {"port": number}
        if protocol != "TCP" or dice.random() < 0.5:
            port["protocol"] = protocol
        if count > 1 or dice.random() < 0.5:
            port["name"] = f"p{at}"
        if kind == "NodePort" or (kind == "LoadBalancer" and dice.random() < 0.7):
            port["nodePort"] = _node_port(dice, protocol, taken)
        ports.append(port)
    return ports


def _node_port(dice: Random, protocol: str, taken: Taken) -> int:
    number = next(
        number for number in iter(lambda: dice.randrange(30000, 30200), 0) if ("", number, protocol) not in taken
    )
    taken.add(("", number, protocol))
    return number


def _give_cluster_ips(dice: Random, spec: Manifest, number: int, families: tuple[int, ...]) -> None:
    chance = dice.random()
    if chance < 0.04:
        spec["clusterIP"] = "None"
        return
    if chance < 0.06:
        return
    second = dice.random() < 0.15
    formats = [POOLS[each].second_range_ip if second else POOLS[each].cluster_ip for each in families]
    texts = [sloppily(dice, text.format(number + 1)) for text in formats]
    spec["clusterIP"] = texts[0]
    if len(texts) > 1 or dice.random() < 0.7:
        spec["clusterIPs"] = texts
        spec["ipFamilies"] = [f"IPv{each}" for each in families]


def sloppily(dice: Random, text: str) -> str:
    """Write an address as people do: leading zeros, capitals, a longer form."""
    if dice.random() < 0.85:
        return text
    if ":" in text:
        return text.upper()
    return ".".join(f"{int(part):03}" for part in text.split("."))


def _externals(dice: Random, number: int) -> list[str]:
    pools = [POOLS[each] for each in dice.choice(((4,), (6,), (4, 6)))]
    texts = [pool.external.format(number + 1) for pool in pools]
    if dice.random() < 0.2:
        texts.append(dice.choice((POOLS[4].second, POOLS[6].second, POOLS[4].primary)))
    return [sloppily(dice, text) for text in texts]


def _free(dice: Random, texts: list[str], numbers: list[tuple[int, str]], taken: Taken) -> list[str]:
    """Return the addresses at which all ports are free, and take them."""
    del dice
    kept = []
    for text in texts:
        wanted = {(_key(text), *number) for number in numbers}
        if not wanted & taken:
            taken |= wanted
            kept.append(text)
    return kept


def _key(text: str) -> str:
    return text.lower() if ":" in text else ".".join(str(int(part)) for part in text.split("."))


def _give_balancer(dice: Random, made: Manifest, number: int, numbers: list[tuple[int, str]], taken: Taken) -> None:
    spec = made["spec"]
    if not any("nodePort" in port for port in spec["ports"]):
        spec["allocateLoadBalancerNodePorts"] = False
    if spec.get("externalTrafficPolicy") == "Local":
        spec["healthCheckNodePort"] = _node_port(dice, "TCP", taken)
    pools = [POOLS[each] for each in dice.choice(((4,), (6,), (4, 6)))]
    # Several Services may share an address and differ by their ports.
    texts = [pool.vip.format(dice.choice((1, 2, number + 10))) for pool in pools]
    ingress: list[Manifest] = [
        {"ip": sloppily(dice, text), **dice.choice(({}, {"ipMode": "VIP"}, {"ipMode": "Proxy"}))}
        for text in _free(dice, texts, numbers, taken)
    ]
    if dice.random() < 0.2:
        ingress.append({"hostname": "lb.example"})
    made["status"] = {"loadBalancer": {"ingress": ingress}}
    if dice.random() < 0.5:
        every = [text for pool in POOLS.values() for text in pool.source_ranges]
        spec["loadBalancerSourceRanges"] = dice.sample(every, dice.randrange(1, 4))


def _slices(dice: Random, made: Manifest) -> list[Manifest]:
    meta = made["metadata"]
    style = dice.choice(("none", "nodes", "zones", "both", "patchy"))
    mood = dice.choice(("ready", "ready", "ready", "mixed", "mixed", "leaving", "bad"))
    slices: list[Manifest] = []
    seen: dict[int, list[Manifest]] = {4: [], 6: []}
    spec = made["spec"]
    families = [6 if ":" in text else 4 for text in spec.get("clusterIPs") or [spec.get("clusterIP", "")]]
    for at in range(dice.choice((0, 1, 2, 2, 3, 4))):
        family = dice.choice(families) if dice.random() < 0.9 else dice.choice((4, 6))
        endpoints = [_endpoint(dice, family, style, mood) for _ in range(dice.randrange(6))]
        if seen[family] and dice.random() < 0.5:
            endpoints.append(_again(dice, seen[family]))
        seen[family] += endpoints
        labels = {SERVICE_NAME: meta["name"], **({HEADLESS: ""} if dice.random() < 0.04 else {})}
        slices.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"{meta['name']}-{at}", "namespace": meta["namespace"], "labels": labels},
                "addressType": f"IPv{family}",
                "ports": [port for each in made["spec"]["ports"] for port in _slice_ports(dice, each)],
                "endpoints": _distinct(endpoints),
            }
        )
    return slices


def _slice_ports(dice: Random, port: Manifest) -> list[Manifest]:
    """Return what a slice offers of a service port: usually its number, at times another or nothing."""
    number = dice.choice((8000 + port["port"], 8000 + port["port"], 9000 + port["port"]))
    offered = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
    return [] if dice.random() < 0.08 else [offered]


def _endpoint(dice: Random, family: int, style: str, mood: str) -> Manifest:
    node = dice.randrange(3)
    address = POOLS[family].pod.format(node + 1, dice.randrange(10, 26))
    if dice.random() < 0.05:
        node, address = 0, POOLS[family].primary  # hostNetwork
    endpoint: Manifest = {"addresses": [sloppily(dice, address)]}
    if dice.random() < 0.95:
        endpoint["nodeName"] = NODES[node]
    conditions = _conditions(dice, mood)
    if conditions is not None:
        endpoint["conditions"] = conditions
    hints = _hints(dice, node, style)
    if hints:
        endpoint["hints"] = hints
    return endpoint


def _conditions(dice: Random, mood: str) -> Manifest | None:
    leaving = {"ready": False, "serving": True, "terminating": True}
    dead = {"ready": False, "serving": False, "terminating": dice.random() < 0.5}
    every = {
        name: value
        for name in ("ready", "serving", "terminating")
        for value in (dice.choice((True, False, None)),)
        if value is not None or dice.random() < 0.5
    }
    match mood:
        case "ready":
            return dice.choice((None, {}, {"ready": True}, {"ready": True, "serving": True, "terminating": False}))
        case "leaving":
            return dice.choice((leaving, leaving, dead))
        case "bad":
            return dead
    return dice.choice((None, leaving, dead, every, every))


def _hints(dice: Random, node: int, style: str) -> Manifest:
    """Return hints for the endpoint's own node and zone, as the slice controller writes them, or odd ones."""
    if style == "none" or (style == "patchy" and dice.random() < 0.3):
        return {}
    where = node if dice.random() < 0.8 else dice.randrange(3)
    hints: Manifest = {}
    if style in ("nodes", "both", "patchy"):
        hints["forNodes"] = [{"name": NODES[where]}]
    if style in ("zones", "both", "patchy"):
        hints["forZones"] = [{"name": zone} for zone in dict.fromkeys((ZONES[where], dice.choice(ZONES)))]
    return hints


def _again(dice: Random, seen: list[Manifest]) -> Manifest:
    """Return an endpoint that another slice lists, too: alike, or on this node, which then counts."""
    endpoint = dict(dice.choice(seen))
    if endpoint.get("nodeName") != NODES[0] and dice.random() < 0.5:
        return {**endpoint, "nodeName": NODES[0], "conditions": {"ready": dice.random() < 0.5}}
    return endpoint


def _distinct(endpoints: list[Manifest]) -> list[Manifest]:
    """Keep one endpoint for each address: what two of them said in one slice would be anybody's guess."""
    return list({_key(endpoint["addresses"][0]): endpoint for endpoint in endpoints}.values())
