"""XDP in the life of an agent: other owners, repairs, restarts with another wish, upgrades under traffic, removal."""

import json
from collections.abc import Iterator

import pytest

from ebpflb.bench.control import Load
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.plan import UPLINK
from ebpflb.bench.topology import Lab
from ebpflb.core.abi import Family
from ebpflb.host import bpf_links
from ebpflb.host.namespaces import in_each
from ebpflb.host.xdp_probe import probe_xdp
from ebpflb.reconcile.status import XdpDevice
from tests.netns.host_helpers import xdp_program
from tests.netns.life_helpers import (
    EBPFLB,
    SOON_S,
    LifeAgent,
    addressed_otherwise,
    agent_on,
    assert_no_failure,
    loads,
    until,
)
from tests.netns.xdp_helpers import call, frontend, transmitted, write_services, xdp_lab, xdp_on

pytestmark = pytest.mark.root

CHECKS_OFTEN = "import ebpflb.host.netlink as n; n.CHECK_SECONDS = 0.2; from ebpflb.cli import main; main()"
NATIVE = ("native", "lb_xdp")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with xdp_lab("xdplife") as built:
        yield built


@pytest.fixture(scope="module")
def agent(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LifeAgent]:
    folder = write_services(tmp_path_factory.mktemp("xdp") / "manifests", lab)
    with agent_on(lab.node(1), "--manifests", str(folder), "--acceleration", "native") as running:
        yield running


@pytest.fixture
def native(agent: LifeAgent) -> LifeAgent:
    """Give the agent with native XDP on the uplink."""
    if not agent.process.is_running or xdp_on(agent.node) != NATIVE:
        wish_for(agent, "native")
    assert xdp_on(agent.node) == NATIVE
    return agent


def wish_for(agent: LifeAgent, acceleration: str) -> None:
    """Start the agent anew with another wish."""
    if agent.process.is_running:
        agent.process.stop()
    agent.source = (*agent.source[:-1], acceleration)
    agent.restart()


def xdp_status(agent: LifeAgent) -> XdpDevice:
    (state,) = agent.status().node.xdp
    return state


def serves(lab: Lab) -> bool:
    targets = [frontend(lab, "far", "NodePort", "tcp", family) for family in Family]
    return [call(lab, target).answered for target in targets] == [5, 5]


def test_status_tells_the_mode(native: LifeAgent) -> None:
    assert xdp_status(native) == XdpDevice(UPLINK, "native", transmits=True)
    assert f"xdp on {UPLINK}: native" in native.ebpflb("status").stdout.splitlines()
    (row,) = json.loads(native.ebpflb("status", "-o", "json").stdout)["status"]["node"]["xdp"]
    assert row == {"device": UPLINK, "mode": "native", "transmits": True, "reason": ""}


def test_nobody_else_gets_in_by_netlink(native: LifeAgent) -> None:
    with xdp_program("bystander") as pin:
        native.node.run(["ip", "-force", "link", "set", "dev", UPLINK, "xdpdrv", "pinned", str(pin)], check=False)
    native.node.run(["ip", "link", "set", "dev", UPLINK, "xdp", "off"], check=False)
    assert xdp_on(native.node) == NATIVE


def test_what_somebody_detached_is_mended(native: LifeAgent) -> None:
    native.process.stop()
    native.restart((EBPFLB[0], "-c", CHECKS_OFTEN))
    (pin,) = native.pins.xdp_links.iterdir()
    link = bpf_links.read_pinned(pin)
    assert link is not None
    native.node.run(["bpftool", "link", "detach", "id", str(link.id)])
    until(lambda: xdp_on(native.node) == NATIVE, SOON_S)
    until(lambda: native.status().node.repairs >= 1, SOON_S)
    native.process.wait_for_line(lambda line: f"xdp_repaired device={UPLINK} repairs=1" in line)


def test_an_uplink_that_is_renamed_is_given_up_and_taken_back(native: LifeAgent) -> None:
    for old, new, expected in ((UPLINK, "other1", None), ("other1", UPLINK, NATIVE)):
        native.node.run(["ip", "link", "set", old, "name", new])
        until(lambda: xdp_on(native.node, new) == expected, SOON_S)  # noqa: B023
    # For a moment no device is an uplink, and the status says so.
    until(lambda: [each.mode for each in native.status().node.xdp] == ["native"], SOON_S)


def test_an_uplink_that_comes_and_goes(native: LifeAgent) -> None:
    """The agent's pattern names one device only, so another one takes its name for a while."""
    node = native.node
    node.run(["ip", "link", "set", UPLINK, "name", "other1"])
    node.run(["ip", "link", "add", UPLINK, "type", "veth", "peer", "name", "far-up"])
    until(lambda: xdp_on(node) == NATIVE, SOON_S)
    assert len(list(native.pins.xdp_links.iterdir())) == 1
    node.run(["ip", "link", "del", UPLINK])
    until(lambda: not list(native.pins.xdp_links.iterdir()), SOON_S)
    node.run(["ip", "link", "set", "other1", "name", UPLINK])
    until(lambda: xdp_on(node) == NATIVE, SOON_S)


def test_auto_leaves_veths_to_tc_and_says_why(lab: Lab, native: LifeAgent) -> None:
    wish_for(native, "auto")
    assert xdp_on(native.node) is None
    state = xdp_status(native)
    assert (state.mode, "checksums" in state.reason) == ("", True)
    assert len(native.logged(f"xdp device={UPLINK} mode=none")) == 1
    assert native.status().node.warnings == ()
    assert serves(lab)


def test_generic_mode_serves_when_asked_for(lab: Lab, native: LifeAgent) -> None:
    wish_for(native, "generic")
    assert xdp_on(native.node) == ("generic", "lb_xdp")
    assert xdp_status(native) == XdpDevice(UPLINK, "generic", transmits=True)
    native.kill()
    native.node.run(["tc", "filter", "del", "dev", UPLINK, "ingress"])  # what tc would do, nobody does
    assert serves(lab)


def test_off_takes_it_away(lab: Lab, native: LifeAgent) -> None:
    wish_for(native, "off")
    assert xdp_on(native.node) is None
    assert not native.pins.xdp.exists()
    assert native.status().node.xdp == ()
    assert serves(lab)


def test_anothers_program_is_named_and_ours_follows_when_it_goes(lab: Lab, native: LifeAgent) -> None:
    wish_for(native, "off")
    with xdp_program("bystander") as pin:
        native.node.run(["ip", "link", "set", "dev", UPLINK, "xdpdrv", "pinned", str(pin)])
        wish_for(native, "native")
        state = xdp_status(native)
        assert state.mode == ""
        assert "another's program" in state.reason
        assert "(name bystander, tag" in state.reason
        assert state.reason.endswith("is attached through netlink in native mode")
        assert any(state.reason in text for text in native.status().node.warnings)
        until(lambda: native.status().healthy, SOON_S)
        assert xdp_on(native.node) == ("native", "bystander")
        assert serves(lab)
        native.node.run(["ip", "link", "set", "dev", UPLINK, "xdpdrv", "off"])
        until(lambda: xdp_on(native.node) == NATIVE, SOON_S)
        until(lambda: xdp_status(native).transmits, SOON_S)


def test_what_doctor_tries_leaves_nothing(lab: Lab, native: LifeAgent) -> None:
    """The other node has no agent: its uplink is free."""
    del native
    for node, words in ((lab.node(2), "native mode works; only used with"), (lab.node(1), "(name lb_xdp, tag")):
        before = xdp_on(node)
        (finding,) = next(in_each([namespace_path(node.netns)], lambda: probe_xdp([UPLINK])))
        assert words in finding.detail
        assert xdp_on(node) == before


def test_another_version_takes_over_without_a_loss(lab: Lab, native: LifeAgent) -> None:
    (pin,) = native.pins.xdp_links.iterdir()
    link = bpf_links.read_pinned(pin)
    targets = [
        ["tcp", frontend(lab, service, "NodePort", "tcp", family), "--rate", "50", "--timeout", "10", *keep]
        for family in Family
        for service in ("near", "far")
        for keep in ([], ["--keep"])
    ]
    with loads(*(Load(lab.client, *target) for target in targets)) as reports:
        native.kill()
        native.restart((EBPFLB[0], "-c", addressed_otherwise("169.254.77.99")))
        assert native.logged("build_compiled family=IPV4")
    assert_no_failure(reports)
    assert bpf_links.read_pinned(pin) == link
    before = transmitted(lab)
    assert serves(lab)
    assert transmitted(lab) > before


def test_cleanup_takes_it_away(native: LifeAgent) -> None:
    native.process.stop()
    assert xdp_on(native.node) == NATIVE
    shown = native.ebpflb("cleanup")
    assert f"removed xdp {UPLINK}: detached program" in shown.stdout
    assert xdp_on(native.node) is None
    assert not native.pins.root.exists()
