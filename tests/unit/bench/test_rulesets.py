"""The peers' rules: as many as kube-proxy writes, every chain defined before it is used, changes no larger than its."""

import re

from ebpflb.bench.rulesets import (
    PeerService,
    iptables_change,
    iptables_rules,
    nftables_change,
    nftables_rules,
)

SERVICES = [
    PeerService(
        f"ns/svc-{number}:http",
        f"10.96.0.{number}",
        80,
        ((f"10.244.1.{number}", 8080), (f"10.244.2.{number}", 8080)),
    )
    for number in range(1, 5)
]
RULES_OF_A_SERVICE = 8
"""Of two endpoints: dispatch, masquerade, two choices, and two a endpoint."""


def appended(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("-A")]


def test_every_service_costs_eight_rules() -> None:
    none, all_of_them = appended(iptables_rules([])), appended(iptables_rules(SERVICES))
    assert len(all_of_them) - len(none) == RULES_OF_A_SERVICE * len(SERVICES)


def test_every_chain_that_is_jumped_to_is_there() -> None:
    text = iptables_rules(SERVICES)
    defined = set(re.findall(r"^:(\S+)", text, re.MULTILINE))
    assert set(re.findall(r"-j (KUBE-\S+)", text)) <= defined
    assert max(map(len, defined)) <= len("KUBE-SVC-") + 16  # 28 is what iptables takes


def test_the_last_choice_is_certain() -> None:
    chances = re.findall(r"--probability (\S+)", iptables_rules(SERVICES[:1]))
    assert chances == ["0.5000000000"]


def test_a_change_writes_the_dispatch_of_all_and_the_chains_of_one() -> None:
    rules = appended(iptables_change(SERVICES, SERVICES[0]))
    assert len(rules) == len(SERVICES) + 1 + RULES_OF_A_SERVICE - 1
    assert len(nftables_change(SERVICES[0]).splitlines()) < len(nftables_rules(SERVICES).splitlines()) / 2


def test_nftables_dispatches_by_one_map() -> None:
    text = nftables_rules(SERVICES)
    assert text.count("add element ip kube-proxy service-ips") == len(SERVICES)
    chains = set(re.findall(r"add chain ip kube-proxy (\S+)", text))
    assert set(re.findall(r"(?:goto|jump) ([^\s,}]+)", text)) <= chains
