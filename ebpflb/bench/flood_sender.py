"""Sends a flood out of a device of the network namespace that it is started in; decides its pace.

    python -m ebpflb.bench.flood_sender --device uplink0 --destination-mac MAC --target HOST:PORT --protocol tcp
        --packets 10000000 --rate 200000    -> one JSON line: Sent

Apart from the bench, since a network namespace belongs to a thread, and so that the clients' times are not the flood's.
"""

import argparse
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

from ebpflb.bench.flood_kernel import BATCH, Generator
from ebpflb.bench.frames import FrameKind
from ebpflb.bench.load import parse_target
from ebpflb.bench.servers import die_with_parent
from ebpflb.core.abi import Protocol
from ebpflb.errors import EbpflbError

_FORGED_MAC = bytes.fromhex("02eb9f000001")
_BURST_SECONDS = 0.005
"""Between two looks at the clock: others' packets wait no longer than that."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a flood at its source."""

    frames: int
    seconds: float


def send_flood(generator: Generator, frames: int, rate: float) -> Sent:
    """Send so many frames at so many a second; 0: as fast as the kernel does."""
    burst = frames if not rate else max(int(rate * _BURST_SECONDS) // BATCH, 1) * BATCH
    began = time.monotonic()
    done = 0
    while done < frames:
        count = min(burst, frames - done)
        generator.send(count)
        done += count
        if rate:
            time.sleep(max(began + done / rate - time.monotonic(), 0.0))
    return Sent(generator.sent(), round(time.monotonic() - began, 3))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="forged SYNs or datagrams, each from another sender; JSON")
    parser.add_argument("--device", required=True)
    parser.add_argument("--destination-mac", required=True, metavar="MAC")
    parser.add_argument("--target", required=True, type=parse_target, metavar="HOST:PORT")
    parser.add_argument("--protocol", choices=["tcp", "udp"], required=True)
    parser.add_argument("--packets", type=int, required=True, metavar="N")
    parser.add_argument("--rate", type=float, default=0.0, metavar="PACKETS_A_SECOND")
    return parser


def main() -> None:
    """Send one flood and say what was sent."""
    arguments = _parser().parse_args()
    die_with_parent()
    host, port = arguments.target
    mac = bytes.fromhex(arguments.destination_mac.replace(":", ""))
    kind = FrameKind(Protocol[arguments.protocol.upper()], _FORGED_MAC, mac, host, port)
    try:
        with Generator(kind, socket.if_nametoindex(arguments.device)) as generator:
            sent = send_flood(generator, arguments.packets, arguments.rate)
    except EbpflbError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(asdict(sent)) + "\n")


if __name__ == "__main__":
    main()
