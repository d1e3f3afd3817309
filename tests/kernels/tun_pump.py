"""Carries packets between tun devices of two network namespaces, as the process of a VPN does.

python -m tests.kernels.tun_pump DEVICE NAMESPACE NAMESPACE -> "ready", then packets, until killed
"""

import fcntl
import os
import selectors
import struct
import sys
from pathlib import Path

from ebpflb.bench.namespaces import enter
from ebpflb.bench.servers import die_with_parent

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST = 1 << 16


def open_tun(device: str, namespace: Path) -> int:
    """Make a tun device in a namespace; it lives as long as the descriptor. The calling thread moves there."""
    enter(namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


def main() -> None:
    die_with_parent()
    device, *namespaces = sys.argv[1:]
    one, other = (open_tun(device, Path(namespace)) for namespace in namespaces)
    selector = selectors.DefaultSelector()
    selector.register(one, selectors.EVENT_READ, other)
    selector.register(other, selectors.EVENT_READ, one)
    print("ready", flush=True)  # noqa: T201 - whoever started us waits for it
    while True:
        for key, _events in selector.select():
            try:
                os.write(key.data, os.read(key.fd, _LARGEST))
            except OSError:
                """A device that is down takes no packet: it is lost, as on any cable."""


if __name__ == "__main__":
    main()
