"""A router on the lab's switch, and a client behind it whose way in is narrow: large packets to it need discovery.

Lab -> add_router -> Places ``router``, ``far``; the lab removes what bears its name

    far ==1400== router ---- the lab's switch
"""

from ipaddress import ip_network

from ebpflb.bench.addresses import PLANS, node_address, underlay_prefix
from ebpflb.bench.namespaces import run_ip, write_sysctls
from ebpflb.bench.plan import SWITCH_BRIDGE, UPLINK
from ebpflb.bench.topology import Lab, Place
from ebpflb.core.abi import Family
from tests.netns.traffic.offers import FRONTENDS

NARROW_MTU = 1400
"""From the router towards ``far``."""
_ROUTER_NUMBER = 200
_FAR = {Family.IPV4: "172.31.0.0/24", Family.IPV6: "fd00:31::/64"}


def _host(network: str, number: int) -> str:
    return str(ip_network(network)[number])


def add_router(lab: Lab) -> tuple[Place, Place]:
    """Put a router on the switch and a client behind it; the lab removes what bears its name."""
    router, far = (_extra_place(lab, name) for name in ("router", "far"))
    switch = f"{lab.id}-switch"
    run_ip([f"netns add {place.netns}" for place in (router, far)])
    run_ip(
        [
            f"link add router mtu {lab.plan.mtu} type veth peer name {UPLINK} mtu {lab.plan.mtu} netns {router.netns}",
            f"link set router master {SWITCH_BRIDGE} up",
        ],
        switch,
    )
    for place in (router, far):
        write_sysctls(place.netns, [(f"net/ipv6/conf/{which}/accept_dad", "0") for which in ("all", "default")])
    run_ip(
        [f"link add far0 mtu {lab.plan.mtu} type veth peer name {UPLINK} mtu {lab.plan.mtu} netns {far.netns}"],
        router.netns,
    )
    run_ip(["link set lo up", f"link set {UPLINK} up", "link set far0 up"], router.netns)
    run_ip(["link set lo up", f"link set {UPLINK} up"], far.netns)
    write_sysctls(router.netns, [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])
    write_sysctls(router.netns, [("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/icmp_ratelimit", "0")])
    write_sysctls(router.netns, [("net/ipv6/icmp/ratelimit", "0")])
    for family in lab.plan.families:
        _join_router(lab, family, router, far)
    return router, far


def _extra_place(lab: Lab, name: str) -> Place:
    cgroup = lab.cgroup / "outside" / name
    cgroup.mkdir(parents=True)
    number = {"router": 1, "far": 2}[name]
    addresses = tuple(_host(_FAR[family], number) for family in lab.plan.families)
    return Place(name, addresses, f"{lab.id}-{name}", cgroup, lab.client.started)


def _join_router(lab: Lab, family: Family, router: Place, far: Place) -> None:
    plan = PLANS[family]
    nodad = " nodad" if family is Family.IPV6 else ""
    own = _host(plan.underlay, _ROUTER_NUMBER)
    prefix = ip_network(_FAR[family]).prefixlen
    by_node = [plan.services, *(FRONTENDS[kind][family] for kind in ("external IP", "balancer IP"))]
    run_ip(
        [
            f"address add {own}/{underlay_prefix(family)} dev {UPLINK}{nodad}",
            f"address add {router.address_of(family)}/{prefix} dev far0{nodad}",
            f"route add {far.address_of(family)}/{plan.host_prefix} dev far0 mtu lock {NARROW_MTU}",
            *(f"route add {network} via {node_address(1, family)}" for network in by_node),
        ],
        router.netns,
    )
    run_ip(
        [
            f"address add {far.address_of(family)}/{prefix} dev {UPLINK}{nodad}",
            f"route add default via {router.address_of(family)}",
        ],
        far.netns,
    )
    for place in lab.nodes:
        run_ip([f"route replace default via {own}"], place.netns)
    run_ip([f"route add {network} via {node_address(1, family)}" for network in by_node[1:]], lab.client.netns)
