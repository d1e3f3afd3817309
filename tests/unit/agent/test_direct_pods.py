"""Who can be handed packets: the agent asks the host whenever a device gets its programs."""

import pytest

from ebpflb.agent import direct_pods
from ebpflb.agent.direct_pods import DirectPods
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
def direct(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    found = {POD.ifindex, UPLINK.ifindex}
    monkeypatch.setattr(direct_pods, "is_direct", lambda device, _instance: device.ifindex in found)
    monkeypatch.setattr(direct_pods, "takes_frames", lambda ifindex: ifindex == POD.ifindex)
    return found


def test_pods_are_asked_about_and_uplinks_are_not(direct: set[int]) -> None:
    hooks = Hooks()
    pods = DirectPods(hooks, "test")
    for role, device in ((DeviceRole.POD, POD), (DeviceRole.POD, OTHER), (DeviceRole.UPLINK, UPLINK)):
        pods.attach_device(role, device)
    assert hooks.has == [POD.ifindex, OTHER.ifindex, UPLINK.ifindex]
    assert pods.devices() == {POD.ifindex: True}
    direct.add(OTHER.ifindex)
    pods.attach_device(DeviceRole.POD, OTHER)
    assert pods.devices() == {POD.ifindex: True, OTHER.ifindex: False}


def test_who_is_not_direct_any_more_is_forgotten(direct: set[int]) -> None:
    pods = DirectPods(Hooks(), "test")
    pods.attach_device(DeviceRole.POD, POD)
    direct.clear()
    pods.attach_device(DeviceRole.POD, POD)
    assert pods.devices() == {}


def test_a_device_that_goes_or_does_not_take_its_programs_is_not_direct(direct: set[int]) -> None:
    pods = DirectPods(Hooks(), "test")
    pods.attach_device(DeviceRole.POD, POD)
    pods.detach_device(DeviceRole.POD, POD)
    assert pods.devices() == {}
    direct.add(7)
    with pytest.raises(OSError, match="no"):
        pods.attach_device(DeviceRole.POD, Link(7, "broken", "veth"))
    assert pods.devices() == {}
