"""The rules by which kube-proxy would serve some Services, as texts for iptables-restore and nft. Pure.

Decides what the peers of our figures load: kube-proxy's chains, in its order, rule for rule (ClusterIPs, a detector by
ClusterCIDR, IPv4, TCP or UDP). Knows nothing of how a text is loaded or measured.

    PeerService... --iptables_rules, nftables_rules--> text, and the text of a change to one of them

Layout from kube-proxy 1.33's proxiers (pkg/proxy/iptables, pkg/proxy/nftables). A Service of two endpoints is eight
iptables rules. Names carry a hash of the service port or endpoint, as there.
"""

from base64 import b32encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

POD_NETWORK = "10.244.0.0/16"
_MARK = "0x4000"


@dataclass(frozen=True, slots=True)
class PeerService:
    """One service port with a ClusterIP."""

    name: str
    """``namespace/name:port``."""
    address: str
    port: int
    endpoints: tuple[tuple[str, int], ...]
    protocol: str = "tcp"


def iptables_rules(services: Sequence[PeerService]) -> str:
    """Return everything for ``iptables-restore --noflush``, as after a start."""
    nat = [*_NAT_CHAINS, *(f":{chain} - [0:0]" for service in services for chain in _chains(service))]
    rules = [*_NAT_JUMPS, *_dispatch(services), *(rule for service in services for rule in _service_rules(service))]
    return "\n".join(["*filter", *_FILTER, "COMMIT", "*nat", *nat, *rules, "COMMIT", ""])


def iptables_change(services: Sequence[PeerService], changed: PeerService) -> str:
    """Return what a sync of one changed Service restores: the dispatch of all, and the chains of this one.

    Since 1.26 kube-proxy leaves out the chains that did not change; KUBE-SERVICES is written whole.
    """
    chains = [":KUBE-SERVICES - [0:0]", *(f":{chain} - [0:0]" for chain in _chains(changed))]
    rules = [*_dispatch(services), *_service_rules(changed)]
    return "\n".join(["*nat", *chains, *rules, "COMMIT", ""])


def nftables_rules(services: Sequence[PeerService]) -> str:
    """Return everything for ``nft -f``, as after a start."""
    lines = ["add table ip kube-proxy", "delete table ip kube-proxy", "add table ip kube-proxy"]
    lines += [f"add {line}" for line in _NFT_SKELETON]
    for service in services:
        lines += _nft_service(service)
    return "\n".join([*lines, ""])


def nftables_change(changed: PeerService) -> str:
    """Return the transaction of one changed Service: its chains flushed and written again."""
    lines = [f"add chain ip kube-proxy {_nft_chain(changed)}", f"flush chain ip kube-proxy {_nft_chain(changed)}"]
    return "\n".join([*lines, *_nft_endpoints(changed), _nft_balance(changed), ""])


# -- iptables ------------------------------------------------------------------------------------------------------

_FILTER = (
    ":KUBE-FORWARD - [0:0]",
    ":KUBE-SERVICES - [0:0]",
    '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
    '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    f'-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark {_MARK}/{_MARK} -j ACCEPT',
    (
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack'
        " --ctstate RELATED,ESTABLISHED -j ACCEPT"
    ),
)
_NAT_CHAINS = (
    ":KUBE-SERVICES - [0:0]",
    ":KUBE-NODEPORTS - [0:0]",
    ":KUBE-POSTROUTING - [0:0]",
    ":KUBE-MARK-MASQ - [0:0]",
)
_NAT_JUMPS = (
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    f"-A KUBE-POSTROUTING -m mark ! --mark {_MARK}/{_MARK} -j RETURN",
    f"-A KUBE-POSTROUTING -j MARK --xor-mark {_MARK}",
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    f"-A KUBE-MARK-MASQ -j MARK --or-mark {_MARK}",
)
_NODE_PORTS = (
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this'
    ' chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
)


def _dispatch(services: Iterable[PeerService]) -> Iterator[str]:
    """Yield KUBE-SERVICES: a rule for each Service, which a packet passes one after the other."""
    for service in services:
        yield f"-A KUBE-SERVICES {_destination(service)} -j {_chain('SVC', service.name, service.protocol)}"
    yield _NODE_PORTS


def _destination(service: PeerService) -> str:
    comment = f'-m comment --comment "{service.name} cluster IP"'
    return f"{comment} -m {service.protocol} -p {service.protocol} -d {service.address} --dport {service.port}"


def _service_rules(service: PeerService) -> Iterator[str]:
    chain = _chain("SVC", service.name, service.protocol)
    yield f"-A {chain} {_destination(service)} ! -s {POD_NETWORK} -j KUBE-MARK-MASQ"
    count = len(service.endpoints)
    for place, endpoint in enumerate(service.endpoints):
        text = f"{endpoint[0]}:{endpoint[1]}"
        left = count - place
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f'-A {chain} -m comment --comment "{service.name} -> {text}" {chance}-j {_endpoint(service, text)}'
    for address, port in service.endpoints:
        own, text = _endpoint(service, f"{address}:{port}"), f"{address}:{port}"
        comment = f'-m comment --comment "{service.name}"'
        yield f"-A {own} {comment} -s {address} -j KUBE-MARK-MASQ"
        yield f"-A {own} {comment} -m {service.protocol} -p {service.protocol} -j DNAT --to-destination {text}"


def _chains(service: PeerService) -> Iterator[str]:
    yield _chain("SVC", service.name, service.protocol)
    for address, port in service.endpoints:
        yield _endpoint(service, f"{address}:{port}")


def _endpoint(service: PeerService, text: str) -> str:
    return _chain("SEP", service.name, service.protocol, text)


def _chain(kind: str, *what: str) -> str:
    return f"KUBE-{kind}-{_hash(*what)[:16]}"


def _hash(*what: str) -> str:
    return b32encode(sha256("".join(what).encode()).digest()).decode()


# -- nftables ------------------------------------------------------------------------------------------------------

_NFT_SKELETON = (
    "chain ip kube-proxy mark-for-masquerade",
    f"rule ip kube-proxy mark-for-masquerade meta mark set meta mark or {_MARK}",
    "set ip kube-proxy cluster-ips { type ipv4_addr ; }",
    "map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }",
    "map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }",
    "set ip kube-proxy nodeport-ips { type ipv4_addr ; }",
    "map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }",
    "chain ip kube-proxy services",
    "rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips",
    "rule ip kube-proxy services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
    "chain ip kube-proxy service-endpoints-check",
    "rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services",
    "chain ip kube-proxy cluster-ips-check",
    "rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject",
    "chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; }",
    "rule ip kube-proxy nat-prerouting jump services",
    "chain ip kube-proxy nat-output { type nat hook output priority -100 ; }",
    "rule ip kube-proxy nat-output jump services",
    "chain ip kube-proxy masquerading",
    f"rule ip kube-proxy masquerading meta mark and {_MARK} == 0 return",
    f"rule ip kube-proxy masquerading meta mark set meta mark xor {_MARK}",
    "rule ip kube-proxy masquerading masquerade fully-random",
    "chain ip kube-proxy nat-postrouting { type nat hook postrouting priority srcnat ; }",
    "rule ip kube-proxy nat-postrouting jump masquerading",
    "chain ip kube-proxy filter-forward { type filter hook forward priority -101 ; }",
    "rule ip kube-proxy filter-forward ct state new jump service-endpoints-check",
    "rule ip kube-proxy filter-forward ct state new jump cluster-ips-check",
    "chain ip kube-proxy filter-output { type filter hook output priority -101 ; }",
    "rule ip kube-proxy filter-output ct state new jump service-endpoints-check",
    "rule ip kube-proxy filter-output ct state new jump cluster-ips-check",
)


def _nft_service(service: PeerService) -> Iterator[str]:
    chain = _nft_chain(service)
    yield f"add chain ip kube-proxy {chain}"
    yield from _nft_endpoints(service)
    yield _nft_balance(service)
    yield f"add element ip kube-proxy cluster-ips {{ {service.address} }}"
    key = f"{service.address} . {service.protocol} . {service.port}"
    yield f"add element ip kube-proxy service-ips {{ {key} : goto {chain} }}"


def _nft_endpoints(service: PeerService) -> Iterator[str]:
    for address, port in service.endpoints:
        chain = _nft_endpoint(service, address, port)
        yield f"add chain ip kube-proxy {chain}"
        yield f"flush chain ip kube-proxy {chain}"
        yield f"add rule ip kube-proxy {chain} ip saddr {address} jump mark-for-masquerade"
        yield f"add rule ip kube-proxy {chain} meta l4proto {service.protocol} dnat to {address}:{port}"


def _nft_balance(service: PeerService) -> str:
    """Return the rules of the Service's chain, the detector's first."""
    chain = _nft_chain(service)
    gotos = ", ".join(
        f"{place} : goto {_nft_endpoint(service, *endpoint)}" for place, endpoint in enumerate(service.endpoints)
    )
    destination = f"ip daddr {service.address} {service.protocol} dport {service.port}"
    return (
        f"add rule ip kube-proxy {chain} {destination} ip saddr != {POD_NETWORK} jump mark-for-masquerade\n"
        f"add rule ip kube-proxy {chain} numgen random mod {len(service.endpoints)} vmap {{ {gotos} }}"
    )


def _nft_chain(service: PeerService) -> str:
    return f"service-{_hash(service.name, service.protocol)[:8]}-{_nft_name(service)}"


def _nft_endpoint(service: PeerService, address: str, port: int) -> str:
    where = f"{address}/{port}"
    return f"endpoint-{_hash(service.name, service.protocol, where)[:8]}-{_nft_name(service)}__{where}"


def _nft_name(service: PeerService) -> str:
    namespace_and_name, _, port_name = service.name.partition(":")
    return f"{namespace_and_name}/{service.protocol}/{port_name}"
