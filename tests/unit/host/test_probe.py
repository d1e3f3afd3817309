import errno
import os
import socket
from pathlib import Path

import pytest

from ebpflb.host import kube_proxy, probe
from ebpflb.host.features import FEATURES, Feature, check_destroy, check_initial_netns, probe_feature, probe_jit
from ebpflb.host.finding import Finding, Level
from ebpflb.host.kube_proxy import traces_in_chains
from ebpflb.host.mounts import parse_mounts

MOUNTS = parse_mounts("x / ext4 rw 0 0\ncgroup2 /cg cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n")


def refuse(number: int, permitted: bool) -> object:
    """Return a loader that accepts nothing but, if permitted, the plainest program."""

    def load(kind: int, attach_type: int, code: bytes) -> int:
        if permitted and len(code) == 16 and kind == 3:
            return os.open("/dev/null", os.O_RDONLY)
        raise OSError(number, os.strerror(number))

    return load


def test_a_complaint_needs_a_remedy() -> None:
    with pytest.raises(ValueError, match="finding x: has no remedy"):
        Finding("x", Level.WARNING, "bad")


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        ("000001fffeffffff", None),
        ("0000000000000000", "CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF"),
        ("0000004000201000", "CAP_BPF"),
    ],
)
def test_capabilities(held: str, missing: str | None) -> None:
    finding = probe.check_capabilities(f"Name:\tx\nCapEff:\t{held}\nCapBnd:\t0\n")
    assert finding.level is (Level.ERROR if missing else Level.OK)
    assert missing is None or finding.detail == f"missing {missing}"


@pytest.mark.parametrize(
    ("release", "level"),
    [("5.10.0-28-amd64", Level.OK), ("6.1", Level.OK), ("5.9.16", Level.ERROR), ("4.19.0", Level.ERROR)],
)
def test_kernel(release: str, level: Level) -> None:
    assert probe.check_kernel(release).level is level


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_missing_feature_says_what_is_lost(feature: Feature) -> None:
    finding = probe_feature(feature, refuse(errno.EINVAL, permitted=True))  # type: ignore[arg-type]
    assert finding.level is (Level.ERROR if feature.needed else Level.WARNING)
    assert feature.without in finding.detail
    assert finding.remedy == f"use Linux {feature.since} or later"


def test_without_privilege_a_feature_is_unknown() -> None:
    finding = probe_feature(FEATURES[0], refuse(errno.EPERM, permitted=False))  # type: ignore[arg-type]
    assert (finding.level, finding.remedy) == (Level.WARNING, "run doctor as root")
    assert probe_jit(refuse(errno.EPERM, permitted=False)).level is Level.ERROR  # type: ignore[arg-type]


def test_a_program_without_jited_code_is_a_warning() -> None:
    assert probe_jit(refuse(errno.EPERM, permitted=True)).level is Level.WARNING  # type: ignore[arg-type]


def test_btf() -> None:
    assert probe.check_btf(present=True).level is Level.OK
    assert probe.check_btf(present=False).level is Level.WARNING


def test_bpffs() -> None:
    assert probe.check_bpffs(Path("/sys/fs/bpf/ebpflb"), MOUNTS).level is Level.OK
    assert probe.check_bpffs(Path("/sys/fs/bpf/ebpflb"), MOUNTS[:1]).level is Level.WARNING
    assert probe.check_bpffs(Path("/elsewhere"), MOUNTS).level is Level.ERROR


def test_cgroup(tmp_path: Path) -> None:
    here = parse_mounts(f"x / ext4 rw 0 0\ncgroup2 {tmp_path} cgroup2 rw 0 0\n")
    assert probe.check_cgroup(None, MOUNTS[:1]).detail == "not mounted: sockets cannot be served"
    assert probe.check_cgroup(None, MOUNTS).detail == "mounted at /cg"
    assert probe.check_cgroup(tmp_path, here).level is Level.OK
    assert probe.check_cgroup(tmp_path / "none", here).detail.endswith("no such folder")
    assert probe.check_cgroup(tmp_path, MOUNTS).detail.endswith("lies on ext4, not on cgroup v2")


@pytest.mark.parametrize(("value", "level"), [(1, Level.OK), (0, Level.WARNING), (None, Level.WARNING)])
def test_forwarding(value: int | None, level: Level) -> None:
    assert probe.check_forwarding(value).level is level


@pytest.mark.parametrize(
    ("values", "uplinks", "strict"),
    [
        ({"all": 0, "a": 1, "b": 0}, ["a", "b"], "a"),
        ({"all": 1, "a": 2, "b": 0}, ["a", "b"], "b"),
        ({"all": 2, "a": 1, "b": 1}, ["a", "b"], None),
        ({"all": 1, "a": 1}, ["a"], None),
        ({"all": 1}, [], None),
    ],
)
def test_rp_filter(values: dict[str, int], uplinks: list[str], strict: str | None) -> None:
    finding = probe.check_rp_filter(values, uplinks)
    assert finding.level is (Level.WARNING if strict else Level.OK)
    assert strict is None or finding.remedy == f"sysctl -w net.ipv4.conf.{strict}.rp_filter=2"


def test_default_devices() -> None:
    table = (
        "Iface Destination Gateway\neth0 00000000 010011AC\neth0 000011AC 00000000\neth1 00000000 1\neth0 00000000 2\n"
    )
    assert probe.parse_default_devices(table) == ["eth0", "eth1"]


@pytest.mark.parametrize(
    ("own", "initial", "level"),
    [(1, 1, Level.WARNING), (2, 1, Level.ERROR), (None, 1, Level.WARNING), (1, None, Level.WARNING)],
)
def test_without_a_readable_cookie_the_initial_namespace_is_needed(
    own: int | None, initial: int | None, level: Level
) -> None:
    assert check_initial_netns(own, initial).level is level


def test_sockets_that_cannot_be_destroyed_are_a_warning() -> None:
    assert check_destroy([]).level is Level.OK
    finding = check_destroy(["TCP"])
    assert finding.level is Level.WARNING
    assert "TCP" in finding.detail
    assert "CONFIG_INET_TCP_DIAG, CONFIG_INET_DIAG_DESTROY" in finding.remedy


def test_getpeername_is_needed() -> None:
    assert [feature.name for feature in FEATURES if not feature.needed] == ["bpf set_retval"]


def test_what_kube_proxy_left_is_a_warning() -> None:
    found = kube_proxy._finding("kube-proxy ipvs", ["device kube-ipvs0"])
    assert (found.level, "device kube-ipvs0" in found.detail) == (Level.WARNING, True)


@pytest.mark.parametrize("has_chain", [True, False])
def test_what_could_not_be_looked_for_is_a_warning(monkeypatch: pytest.MonkeyPatch, has_chain: bool) -> None:
    """Others hold the lock that all users of iptables-legacy share: that nothing was seen means nothing."""
    shown = ["ip6tables-legacy"] if has_chain else []
    monkeypatch.setattr(kube_proxy, "_legacy_with_chain", lambda: (shown, ["iptables-legacy"]))
    found = kube_proxy._probe_iptables()
    assert found.level is Level.WARNING
    assert found.detail.startswith(
        "chain KUBE-SERVICES in ip6" if has_chain else "not known: iptables-legacy had to wait"
    )
    assert "kube-proxy --cleanup" in found.remedy or not has_chain


def test_traces_of_kube_proxy() -> None:
    ip, ip6 = int(socket.AF_INET), int(socket.AF_INET6)
    assert traces_in_chains([(ip, "nat", "PREROUTING"), (1, "kube-proxy", "x"), (ip, "filter", "KUBE-SERVICES")]) == []
    assert traces_in_chains([(ip, "kube-proxy", "a"), (ip, "kube-proxy", "b"), (ip6, "nat", "KUBE-SERVICES")]) == [
        "nftables table ip kube-proxy",
        "chain KUBE-SERVICES in ip6 nat of iptables-nft",
    ]
