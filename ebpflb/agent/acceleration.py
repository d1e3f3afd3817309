"""Decides, for each uplink, whether XDP serves it, in which mode, and what it may do there; tc serves it in any case.

A device that cannot have XDP, or must not, is no failure: the reason is logged once and shown by ``ebpflb status``.
Knows pins and devices; must not know what the programs do.

    --acceleration, uplink --> Accelerator --> dispatcher's link on the device --> mode, reason (status)
                                                                               --> devices (HostWatcher -> Host -> map)
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import if_indextoname
from typing import Final

from ebpflb.agent.config import Acceleration, AgentConfig
from ebpflb.core.abi import Family
from ebpflb.datapath.dispatch import Dispatcher
from ebpflb.errors import EbpflbError
from ebpflb.host.links import Link, LinkHeader
from ebpflb.host.netdev import can_transmit
from ebpflb.host.xdp import XdpMode, attach, detach, has_unfinished_checksums
from ebpflb.reconcile.status import XdpDevice

log = logging.getLogger(__name__)

_MODES: Final = {Acceleration.NATIVE: XdpMode.NATIVE, Acceleration.GENERIC: XdpMode.GENERIC}
_NO_CHECKSUMS: Final = (
    "a {kind} may carry packets whose checksums are left to a network card, which XDP cannot tell: native XDP on it "
    "only with --acceleration native, when all that send through it have `ethtool -K DEVICE tx off`"
)
_DEAF_PEER: Final = "the other end of this veth runs no XDP program, and would lose what XDP sends: tc forwards"
_NO_TRANSMIT: Final = "the driver takes no frames from XDP: tc forwards"


class Accelerator:
    """The XDP side of one agent's uplinks. All calls come from one thread."""

    def __init__(
        self, config: AgentConfig, programs: Mapping[Family, Path], build: Callable[[], None] = lambda: None
    ) -> None:
        """``programs``: the pin of each family's XDP program; ``build`` sees to it that they are there."""
        self._wish = config.acceleration
        self._build = build
        self._links = config.pins.xdp_links
        self._dispatcher = Dispatcher(config.pins, programs)
        self._states: dict[int, XdpDevice] = {}
        self.repairs = 0
        """Devices from which others had taken our program."""

    @property
    def states(self) -> tuple[XdpDevice, ...]:
        """How each uplink is doing, by interface index."""
        return tuple(state for _, state in sorted(self._states.items()))

    def devices(self) -> dict[int, bool]:
        """Return the devices that have our program, and whether XDP may send frames out of them."""
        return {ifindex: state.transmits for ifindex, state in self._states.items() if state.mode}

    def warnings(self) -> tuple[str, ...]:
        """Return which devices do not have the mode that was asked for."""
        if self._wish not in _MODES:
            return ()
        refused = [state for state in self.states if not state.mode]
        return tuple(f"device {each.device}: --acceleration {self._wish}: {each.reason}" for each in refused)

    def adopt(self, is_uplink: Callable[[Link], bool]) -> None:
        """Take over from an earlier run: its links call our programs at once, those that shall not be there go."""
        for pin in sorted(self._links.glob("[0-9]*")):
            device = Link(int(pin.name), _name_of(int(pin.name)))
            if self._wish is Acceleration.OFF or not is_uplink(device):
                _log_changes(detach(device.name, pin))
        if self._wish is Acceleration.OFF:
            self._dispatcher.remove()
        elif self._dispatcher.is_pinned:
            self._build()
            self._dispatcher.adopt()

    def attach(self, device: Link) -> None:
        """Have an uplink served as it was asked for, as far as possible; on one that has it, mend what is gone."""
        if self._wish is Acceleration.OFF:
            return
        before = self._states.get(device.ifindex, XdpDevice(device.name))
        obstacle = self._obstacle_to(device)
        try:
            state = self._leave(device, obstacle) if obstacle else self._run(device, before)
        except (EbpflbError, OSError) as error:
            state = XdpDevice(device.name, reason=str(error))
        if state != before:
            is_refused = self._wish in _MODES and not state.mode
            words = (state.device, state.mode or "none", state.reason)
            log.log(logging.WARNING if is_refused else logging.INFO, "xdp device=%s mode=%s reason=%r", *words)
        self._states[device.ifindex] = state

    def release(self, device: Link) -> None:
        """Take our program off a device that is no uplink any more."""
        self._states.pop(device.ifindex, None)
        _log_changes(detach(device.name, self._pin(device)))

    def _obstacle_to(self, device: Link) -> str:
        if device.header is not LinkHeader.ETHERNET:
            return "it has no Ethernet header"
        if self._wish is Acceleration.AUTO and has_unfinished_checksums(device):
            return _NO_CHECKSUMS.format(kind=device.kind)
        return ""

    def _leave(self, device: Link, obstacle: str) -> XdpDevice:
        _log_changes(detach(device.name, self._pin(device)))  # of an earlier run, which was told otherwise
        return XdpDevice(device.name, reason=obstacle)

    def _run(self, device: Link, before: XdpDevice) -> XdpDevice:
        mode = _MODES.get(self._wish, XdpMode.NATIVE)
        self._build()
        changes = attach(device, mode, self._dispatcher.ready(), self._pin(device))
        _log_changes(changes)
        if changes and before.mode:
            self.repairs += 1
            log.warning("xdp_repaired device=%s repairs=%d", device.name, self.repairs)
        if mode is XdpMode.GENERIC or can_transmit(device):
            return XdpDevice(device.name, mode.value, transmits=True)
        return XdpDevice(device.name, mode.value, reason=_DEAF_PEER if device.kind == "veth" else _NO_TRANSMIT)

    def _pin(self, device: Link) -> Path:
        return self._links / str(device.ifindex)


def _name_of(ifindex: int) -> str:
    try:
        return if_indextoname(ifindex)
    except OSError:
        return f"{ifindex} (gone)"


def _log_changes(changes: list[str]) -> None:
    for change in changes:
        log.info("xdp_hook change=%r", change)
