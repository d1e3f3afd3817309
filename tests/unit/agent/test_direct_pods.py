"""Who can be handed packets: the agent asks the host whenever a device gets its programs."""

import pytest

from ebpflb.agent import direct_pods
from ebpflb.agent.direct_pods import DirectPods
from ebpflb.host.direct_pods import Access
from ebpflb.host.links import DeviceRole, Link

POD, OTHER, UPLINK = Link(4, "pod4", "veth"), Link(5, "pod5", "veth"), Link(2, "eth0")


class Hooks:
    def __init__(self) -> None:
        self.has: list[int] = []

    def attach_device(self, role: DeviceRole, device: Link) -> None:
        if device.name == "broken":
            raise OSError(f"{role}: no")
        self.has.append(device.ifindex)

    def detach_device(self, _role: DeviceRole, device: Link) -> None:
        self.has.remove(device.ifindex)


@pytest.fixture
def access(monkeypatch: pytest.MonkeyPatch) -> dict[int, Access]:
    found = {POD.ifindex: Access(by_tc=True, by_xdp=True), UPLINK.ifindex: Access(by_tc=True)}
    monkeypatch.setattr(direct_pods, "access_to", lambda device, _instance: found.get(device.ifindex, Access()))
    return found


def test_pods_are_asked_about_and_uplinks_are_not(access: dict[int, Access]) -> None:
    hooks = Hooks()
    pods = DirectPods(hooks, "test")
    for role, device in ((DeviceRole.POD, POD), (DeviceRole.POD, OTHER), (DeviceRole.UPLINK, UPLINK)):
        pods.attach_device(role, device)
    assert hooks.has == [POD.ifindex, OTHER.ifindex, UPLINK.ifindex]
    assert (pods.by_tc(), pods.by_xdp()) == ({POD.ifindex}, {POD.ifindex: True, OTHER.ifindex: False})
    access[OTHER.ifindex] = Access(by_tc=True)
    pods.attach_device(DeviceRole.POD, OTHER)
    assert (pods.by_tc(), pods.by_xdp()[OTHER.ifindex]) == ({POD.ifindex, OTHER.ifindex}, False)


def test_what_is_in_the_way_now_counts(access: dict[int, Access]) -> None:
    pods = DirectPods(Hooks(), "test")
    pods.attach_device(DeviceRole.POD, POD)
    access.clear()
    pods.attach_device(DeviceRole.POD, POD)
    assert (pods.by_tc(), pods.by_xdp()) == (set(), {POD.ifindex: False})


def test_a_device_that_goes_or_does_not_take_its_programs_is_forgotten(access: dict[int, Access]) -> None:
    pods = DirectPods(Hooks(), "test")
    pods.attach_device(DeviceRole.POD, POD)
    pods.detach_device(DeviceRole.POD, POD)
    assert (pods.by_tc(), pods.by_xdp()) == (set(), {})
    access[7] = Access(by_tc=True)
    with pytest.raises(OSError, match="no"):
        pods.attach_device(DeviceRole.POD, Link(7, "broken", "veth"))
    assert pods.by_tc() == set()
