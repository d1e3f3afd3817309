"""tc attachments on veth devices in a namespace of the test, against what `tc` itself shows."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpflb.core.abi import Family
from ebpflb.errors import EbpflbError, PrerequisiteError
from ebpflb.host.links import Link
from ebpflb.host.tc import Attached, TcHook, TcProgram, attach, detach, list_ours
from tests.netns.host_helpers import inside, namespace, pass_all_program, run

pytestmark = pytest.mark.root

INSTANCE = "test-a"


@pytest.fixture
def device() -> Iterator[Link]:
    with namespace("tc") as path, inside(path):
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        (link,) = json.loads(run("ip", "-j", "link", "show", "up0"))
        yield Link(link["ifindex"], "up0", "veth")


@pytest.fixture
def program() -> Iterator[int]:
    with pass_all_program("pass") as descriptor:
        yield descriptor


def four(source: int | Path) -> list[TcProgram]:
    return [
        TcProgram("lb_uplink_in4", TcHook.INGRESS, Family.IPV4, source),
        TcProgram("lb_uplink_in6", TcHook.INGRESS, Family.IPV6, source),
        TcProgram("lb_uplink_out4", TcHook.EGRESS, Family.IPV4, source),
        TcProgram("lb_uplink_out6", TcHook.EGRESS, Family.IPV6, source),
    ]


def program_id(descriptor: int) -> int:
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("prog_id:")))


def filters(hook: str) -> list[dict[str, Any]]:
    shown = json.loads(run("tc", "-j", "filter", "show", "dev", "up0", hook))
    return [each for each in shown if "handle" in each.get("options", {})]


def qdiscs() -> set[str]:
    return {each["kind"] for each in json.loads(run("tc", "-j", "qdisc", "show", "dev", "up0"))}


def test_attaches_by_protocol_with_direct_action(device: Link, program: int) -> None:
    created: list[int] = []
    changes = attach(device, four(program), INSTANCE, created.append)
    assert created == [device.ifindex]
    assert changes[0] == "up0: created clsact"
    assert changes[1] == f"up0: attached lb_uplink_in4 at ingress (program {program_id(program)})"
    assert len(changes) == 5
    shown = filters("ingress") + filters("egress")
    assert [(each["protocol"], each["options"]["bpf_name"]) for each in shown] == [
        ("ip", f"ebpflb/{INSTANCE}/lb_uplink_in4"),
        ("ipv6", f"ebpflb/{INSTANCE}/lb_uplink_in6"),
        ("ip", f"ebpflb/{INSTANCE}/lb_uplink_out4"),
        ("ipv6", f"ebpflb/{INSTANCE}/lb_uplink_out6"),
    ]
    assert all(each["options"]["direct-action"] for each in shown)


def test_lists_what_is_attached(device: Link, program: int) -> None:
    assert list_ours(INSTANCE) == []
    attach(device, four(program)[:2], INSTANCE)
    assert list_ours(INSTANCE) == [
        Attached(device.ifindex, "up0", TcHook.INGRESS, Family.IPV4, INSTANCE, "lb_uplink_in4", program_id(program)),
        Attached(device.ifindex, "up0", TcHook.INGRESS, Family.IPV6, INSTANCE, "lb_uplink_in6", program_id(program)),
    ]
    assert list_ours("test") == []
    assert len(list_ours()) == 2


def test_again_changes_nothing_and_a_new_program_replaces(device: Link, program: int) -> None:
    attach(device, four(program), INSTANCE)
    created: list[int] = []
    assert attach(device, four(program), INSTANCE, created.append) == []
    assert created == []
    with pass_all_program("next") as successor:
        changes = attach(device, [*four(successor)[:1], *four(program)[1:]], INSTANCE)
        assert changes == [f"up0: replaced lb_uplink_in4 at ingress (program {program_id(successor)})"]
        (changed, *_) = list_ours(INSTANCE)
        assert changed.program_id == program_id(successor)
    assert len(filters("ingress")) == 2


def test_what_is_not_wanted_any_more_goes(device: Link, program: int) -> None:
    attach(device, four(program), INSTANCE)
    attach(device, four(program), "test-b")
    ipv4 = [wanted for wanted in four(program) if wanted.family is Family.IPV4]
    assert attach(device, ipv4, INSTANCE) == [
        "up0: detached lb_uplink_in6 from ingress",
        "up0: detached lb_uplink_out6 from egress",
    ]
    assert [found.program for found in list_ours(INSTANCE)] == ["lb_uplink_in4", "lb_uplink_out4"]
    assert len(list_ours("test-b")) == 4


def test_detach_leaves_others_and_their_clsact(device: Link, program: int) -> None:
    run("tc", "qdisc", "add", "dev", "up0", "clsact")
    run("tc", "filter", "add", "dev", "up0", "egress", "prio", "9", "u32", "match", "u32", "0", "0")
    created: list[int] = []
    attach(device, four(program), INSTANCE, created.append)
    assert created == []
    attach(device, four(program)[:1], "test-b")
    assert len(detach(device, INSTANCE, remove_clsact=True)) == 4
    assert [found.instance for found in list_ours()] == ["test-b"]
    assert detach(device, "test-b", remove_clsact=True) == ["up0: detached lb_uplink_in4 from ingress"]
    assert "u32" in run("tc", "filter", "show", "dev", "up0", "egress")
    assert "clsact" in qdiscs()


def test_detach_keeps_a_bare_clsact_unless_told(device: Link, program: int) -> None:
    attach(device, four(program), INSTANCE)
    detach(device, INSTANCE, remove_clsact=False)
    assert filters("ingress") == []
    assert "clsact" in qdiscs()
    assert detach(device, INSTANCE, remove_clsact=True) == ["up0: removed clsact"]
    assert "clsact" not in qdiscs()
    assert detach(device, INSTANCE, remove_clsact=True) == []


def test_a_vanished_device_is_no_error(device: Link, program: int) -> None:
    attach(device, four(program), INSTANCE)
    run("ip", "link", "del", "up0")
    assert attach(device, four(program), INSTANCE) == []
    assert detach(device, INSTANCE, remove_clsact=True) == []
    assert list_ours(INSTANCE) == []


def test_an_ingress_qdisc_is_named(device: Link, program: int) -> None:
    run("tc", "qdisc", "add", "dev", "up0", "ingress")
    with pytest.raises(PrerequisiteError, match=r"device up0: has an ingress qdisc.*tc qdisc del dev up0 ingress"):
        attach(device, four(program), INSTANCE)
    assert filters("ingress") == []


def test_a_clsact_is_told_before_anything_can_fail(device: Link) -> None:
    created: list[int] = []
    with pytest.raises(EbpflbError, match="cannot be opened"):
        attach(device, four(Path("/sys/fs/bpf/ebpflb-t-none")), INSTANCE, created.append)
    assert created == [device.ifindex]
    assert detach(device, INSTANCE, remove_clsact=True) == ["up0: removed clsact"]


def test_a_clsact_that_cannot_be_noted_is_taken_back(device: Link, program: int) -> None:
    def full(_: int) -> None:
        raise EbpflbError("no space left")

    with pytest.raises(EbpflbError, match="no space left"):
        attach(device, four(program), INSTANCE, full)
    assert "clsact" not in qdiscs()


def test_a_taken_priority_is_named(device: Link, program: int) -> None:
    run("tc", "qdisc", "add", "dev", "up0", "clsact")
    run(
        "tc", "filter", "add", "dev", "up0", "ingress", "prio", "44", "protocol", "arp", "u32", "match", "u32", "0", "0"
    )
    with pytest.raises(EbpflbError, match="device up0: attach: the kernel refused"):
        attach(device, four(program), INSTANCE)


def test_takes_a_pin(device: Link, program: int) -> None:
    pin = Path("/sys/fs/bpf") / f"{device.name}-{device.ifindex}-{program_id(program)}-ebpflb-t"
    subprocess.run(["bpftool", "prog", "pin", "id", str(program_id(program)), str(pin)], check=True)
    try:
        attach(device, four(pin), INSTANCE)
    finally:
        pin.unlink()
    assert {found.program_id for found in list_ours(INSTANCE)} == {program_id(program)}


def test_a_missing_pin_is_named(device: Link) -> None:
    with pytest.raises(EbpflbError, match="program lb_uplink_in4: the pin /sys/fs/bpf/ebpflb-t-none cannot be opened"):
        attach(device, four(Path("/sys/fs/bpf/ebpflb-t-none")), INSTANCE)
