"""Which families an agent serves, given what it is told and what the kernel has."""

import logging
from pathlib import Path

import pytest

from ebpflb.agent import families
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.families import keep_served_families
from ebpflb.core.abi import Family
from ebpflb.errors import PrerequisiteError
from ebpflb.host.features import probe_family

ABSENT = "IPv6: not served: this kernel has none (no ipv6 module, or booted with ipv6.disable=1)"


@pytest.fixture(name="sysctl")
def _sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for /proc/sys/net, of a kernel without IPv6."""
    monkeypatch.setattr(families, "probe_family", lambda family: probe_family(family, tmp_path))
    return tmp_path


def set_disabled(sysctl: Path, value: str) -> None:
    setting = sysctl / "ipv6" / "conf" / "all" / "disable_ipv6"
    setting.parent.mkdir(parents=True)
    setting.write_text(f"{value}\n")


def test_both_are_served_where_both_are_there(sysctl: Path) -> None:
    set_disabled(sysctl, "0")
    config = AgentConfig("node-1")
    assert keep_served_families(config) == (config, ())
    assert config.families == (Family.IPV4, Family.IPV6)


def test_without_ipv6_it_is_ipv4_alone_and_a_warning(sysctl: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config, warnings = keep_served_families(AgentConfig("node-1"))
    assert config.families == (Family.IPV4,)
    assert warnings == (f"{ABSENT}; load the module, or boot without ipv6.disable=1",)
    assert warnings[0] in caplog.text


def test_disabled_by_sysctl_counts_as_absent(sysctl: Path) -> None:
    set_disabled(sysctl, "1")
    config, warnings = keep_served_families(AgentConfig("node-1"))
    assert config.families == (Family.IPV4,)
    assert "disable_ipv6=0, and restart the agent" in warnings[0]


def test_a_kernel_without_ipv6_is_no_matter_to_who_wants_ipv4(sysctl: Path) -> None:
    config = AgentConfig("node-1", families=(Family.IPV4,))
    assert keep_served_families(config) == (config, ())


def test_ipv6_alone_on_a_kernel_without_is_an_error(sysctl: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no IP family is left to serve: IPv6: not served"):
        keep_served_families(AgentConfig("node-1", families=(Family.IPV6,)))
