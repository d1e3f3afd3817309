"""Random API objects: of our kinds, with up to three values that do not belong where they are, and plain noise.

Small pools of values, so that what gets past the first check meets in the compilation.
"""

import copy
from typing import Any

from hypothesis import strategies as st

Values = st.SearchStrategy[Any]

ADDRESSES: Values = st.sampled_from(
    [
        *("10.96.0.10", "010.096.000.010", " 10.96.0.11", "10.244.1.11", "10.244.1.12", "192.168.0.1", "203.0.113.9"),
        *("fd00::a", "fd00:0:0::000b", "::ffff:10.96.0.10", "2001:db8::1", "192.0.2.7"),
    ]
)
PREFIXES: Values = st.sampled_from(
    ["10.96.0.0/12", "010.96.0.0/12", "fd00::/108", " 192.0.2.0/24 ", "192.0.2.7/32", "::ffff:10.0.0.0/104"]
)
WORDS: Values = st.sampled_from(["", "http", "dns", "a" * 63])
ODD: Values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([80, 0, -1, 65535, 65536, 1 << 31, 1 << 64, 10**30])
    | st.sampled_from(["None", "0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "::", "fe80::1%eth0", "1.2.3"])
    | st.sampled_from(["256.1.1.1", "1.2.3.4.5", "0x0a.0.0.1", "\N{FULLWIDTH DIGIT ONE}.2.3.4", ":::", "10.0.0.1/32"])
    | st.sampled_from(["0.0.0.0/0", "::/0", "10.96.0.0/33", "10.96.0.0/-1", "/", "x/8", "fd00::/129", "1/1"])
    | st.sampled_from(["\x00", "\ud800", "\x1b[31m", "\N{SNOWMAN}", "a" * 64, "a" * 300, "a/b", "Web", "-"])
    | st.sampled_from([[], {}, [None], [[]], {"": None}, ["x"], {"name": "x"}])
)


def one_of(*words: Any) -> Values:
    return st.sampled_from(words)


def some(element: Values, size: int = 3) -> Values:
    return st.lists(element, max_size=size)


def record(required: dict[str, Values], **optional: Values) -> Values:
    return st.fixed_dictionaries(required, optional=optional)


NAMES = one_of("web", "web", "db", "n1")
NUMBERS = one_of(80, 443, 53, 30000, 30001)
POLICY = one_of("Cluster", "Local")
METADATA = record(
    {"name": NAMES, "namespace": one_of("demo", "demo", "other")},
    annotations=st.dictionaries(
        one_of("ebpflb.io/algorithm", "ebpflb.io/forwarding", "endpoints.kubernetes.io/last-change-trigger-time"),
        one_of("maglev", "random"),
        max_size=1,
    ),
    uid=WORDS,
    unknownField=ODD,
)


def _object(version: str, kind: str, **parts: Values) -> Values:
    return st.fixed_dictionaries({"apiVersion": st.just(version), "kind": st.just(kind), "metadata": METADATA, **parts})


def _ports(**more: Values) -> Values:
    return st.lists(
        record({"port": NUMBERS, "name": WORDS, **more}, protocol=one_of("TCP", "UDP", "SCTP")), min_size=1, max_size=2
    )


def _service(kind: str, **port: Values) -> Values:
    """A Service of one type; what is in ``status`` counts for load balancers only."""
    ingress = record({"ip": ADDRESSES}, ipMode=one_of("VIP", "Proxy"), hostname=WORDS)
    spec = record(
        {"type": st.just(kind), "clusterIP": ADDRESSES, "ports": _ports(**port)},
        clusterIPs=one_of(["10.96.0.10"], ["fd00::a", "10.96.0.10"], ["10.96.0.10", "10.96.0.11"], ["None"], []),
        ipFamilies=one_of(["IPv4"], ["IPv6", "IPv4"], []),
        externalIPs=some(ADDRESSES),
        loadBalancerSourceRanges=some(PREFIXES),
        sessionAffinity=one_of("ClientIP", "None"),
        sessionAffinityConfig=st.just({"clientIP": {"timeoutSeconds": 60}}),
        internalTrafficPolicy=POLICY,
        externalTrafficPolicy=POLICY,
        healthCheckNodePort=NUMBERS,
    )
    return _object("v1", "Service", spec=spec, status=st.just({"loadBalancer": {}}) | _balancer(ingress))


def _balancer(ingress: Values) -> Values:
    return record({"loadBalancer": record({"ingress": some(ingress)})})


def _slice(family: str, *addresses: str) -> Values:
    hints = some(record({"name": one_of("n1", "n2", "zone-a")}), 2)
    truth = one_of(True, False)
    endpoint = record(
        {"addresses": st.lists(one_of(*addresses), min_size=1, max_size=2)},
        conditions=record({}, ready=truth, serving=truth, terminating=truth),
        nodeName=one_of("n1", "n2"),
        hints=record({}, forZones=hints, forNodes=hints),
    )
    kind = _object(
        "discovery.k8s.io/v1", "EndpointSlice", addressType=st.just(family), ports=_ports(), endpoints=some(endpoint)
    )
    labels = {"kubernetes.io/service-name": "web"}
    return kind.map(lambda each: each | {"metadata": each["metadata"] | {"labels": labels}})


NODE = _object(
    "v1",
    "Node",
    spec=record({}, podCIDRs=some(PREFIXES, 2), taints=some(record({"key": WORDS}))),
    status=record({"addresses": some(record({"type": one_of("InternalIP", "ExternalIP"), "address": ADDRESSES}))}),
)
POD = _object(
    "v1",
    "Pod",
    spec=record({"nodeName": one_of("n1", "n2")}, hostNetwork=one_of(True, False), runtimeClassName=one_of("kata")),
    status=record({"phase": one_of("Running", "Failed")}),
)
NOISE: Values = st.recursive(
    ODD,
    lambda inner: st.dictionaries(st.sampled_from(["metadata", "spec", "kind", "status", "x"]), inner, max_size=4),
    max_leaves=4,
)
GOOD = st.one_of(
    _service("ClusterIP"),
    _service("NodePort", nodePort=NUMBERS),
    _service("LoadBalancer", nodePort=one_of(0, 30001)),
    *[_slice("IPv4", "10.244.1.11", "010.244.001.012", " 192.168.0.1", "fd00::b")] * 2,
    _slice("IPv6", "fd00::b", "2001:db8::1", "::ffff:10.244.1.11"),
    _object("networking.k8s.io/v1", "ServiceCIDR", spec=record({"cidrs": some(PREFIXES)})),
    NODE,
    POD,
)


def _places(part: Any) -> list[tuple[Any, Any]]:
    """Every value in a document, as the container and the key or index of it."""
    items = list(part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ())
    return [(part, key) for key, _ in items] + [place for _, value in items for place in _places(value)]


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A good object, of which up to three values, or lists and objects of values, are replaced or gone."""
    document = copy.deepcopy(draw(GOOD))
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(_places(document)))
        if draw(st.booleans()):
            container[key] = copy.deepcopy(draw(ODD))
        else:
            del container[key]
        if not document:
            break
    return document


OBJECTS = st.one_of(*[changed()] * 9, NOISE)
