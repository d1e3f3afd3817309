"""The ways in which a node can be configured, and the rows that say so.

Setting --config_of, devices_of--> Config, Device          name, bits --network_of--> the network around an address
"""

from dataclasses import dataclass

from ebpflb.core.abi import DeviceFlag, Family
from tests.fuzz.builder import MTU, Builder
from tests.fuzz.rows import Config, Detector, Device, Network
from tests.prog.world import NARROW_MTU
from tests.prog.world import Device as Interface

GUARD_BITS, CIDR_BITS, POD_BITS = 14, 16, 24
"""Of IPv4; prefixes of IPv6 are four times as long."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a node is configured."""

    detector: Detector
    masquerade_all: bool
    serves_pods: bool
    """Masqueraded packets may be sent to a pod of this node; not to ``pod2``, which other software has connected."""


SETTINGS = (
    Setting(Detector.NETWORK, masquerade_all=False, serves_pods=True),
    Setting(Detector.DEVICE, masquerade_all=False, serves_pods=False),
    Setting(Detector.NONE, masquerade_all=False, serves_pods=True),
    Setting(Detector.NETWORK, masquerade_all=True, serves_pods=True),
)


def network_of(world: Builder, name: str, bits: int) -> Network:
    """Return the network that an address is in."""
    address = world.address(name)
    length = bits if world.family is Family.IPV4 else 4 * bits
    spare = 8 * len(address) - length
    return (int.from_bytes(address, "big") >> spare << spare).to_bytes(len(address), "big"), length


def config_of(world: Builder, setting: Setting) -> Config:
    """Return the row of ``config``."""
    guard, pods = network_of(world, "cluster", GUARD_BITS), network_of(world, "pod", POD_BITS)
    return Config(guard, pods, setting.detector, setting.masquerade_all)


def devices_of(node: bytes, setting: Setting) -> dict[int, Device]:
    """Return the rows of ``devices``; ``bare`` has none."""
    pods = DeviceFlag.PODS if setting.serves_pods else DeviceFlag(0)
    return {
        Interface.UPLINK: Device(node, MTU, DeviceFlag.XDP),
        Interface.NARROW: Device(node, NARROW_MTU, DeviceFlag.XDP),
        Interface.POD: Device(node, MTU, DeviceFlag.POD_SOURCE | pods),
        Interface.POD2: Device(bytes(len(node)), MTU, DeviceFlag.POD_SOURCE),
    }
