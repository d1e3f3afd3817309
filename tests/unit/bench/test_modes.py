"""Which modes there are, whom a client dials in each, and IPVS, which few kernels have."""

from pathlib import Path

from ebpflb.bench.modes import DIRECT, KINDS, SOCKET
from ebpflb.bench.modes_ipvs import ipvs_addresses, ipvs_rules, why_no_ipvs
from ebpflb.bench.rig_services import make_services

ENDPOINTS = [("10.244.1.12", 7000), ("10.244.1.13", 7000)]


def test_only_direct_dials_backends() -> None:
    services = make_services(2, ENDPOINTS)
    for name, kind in KINDS.items():
        expected = ["10.244.1.12:7000", "10.244.1.13:7000"] if name == DIRECT else ["10.97.0.0:80", "10.97.0.1:80"]
        assert sorted(kind.targets(services, 10)) == expected


def test_ours_is_measured_with_more_than_its_peers() -> None:
    for is_quick in (True, False):
        most = {name: kind.most(is_quick=is_quick) for name, kind in KINDS.items()}
        assert most[SOCKET] == max(most.values()) == 100_000


def test_ipvs_is_absent_in_words(tmp_path: Path) -> None:
    assert why_no_ipvs(tmp_path / "ip_vs", path="") == "absent: this kernel has no IPVS"
    (tmp_path / "ip_vs").touch()
    assert why_no_ipvs(tmp_path / "ip_vs", path="") == "absent: ipvsadm is not installed"
    tool = tmp_path / "ipvsadm-restore"
    tool.touch(mode=0o755)
    assert why_no_ipvs(tmp_path / "ip_vs", path=str(tmp_path)) == ""


def test_ipvs_has_every_address_and_every_backend() -> None:
    services = make_services(2, ENDPOINTS)
    assert ipvs_addresses(services) == [f"addr add 10.97.0.{number}/32 dev kube-ipvs0" for number in range(2)]
    assert ipvs_rules(services[:1]).splitlines() == [
        "-A -t 10.97.0.0:80 -s rr",
        "-a -t 10.97.0.0:80 -r 10.244.1.12:7000 -m -w 1",
        "-a -t 10.97.0.0:80 -r 10.244.1.13:7000 -m -w 1",
    ]
