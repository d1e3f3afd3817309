"""Sends a flood out of a device of the network namespace that it is started in, as fast as one core makes it.

    python -m ebpflb.bench.flood_sender --device uplink0 --destination-mac MAC --target HOST:PORT --protocol tcp
        --packets 10000000    -> one JSON line: Sent

Apart from the bench, since a network namespace belongs to a thread, and so that the clients' times are not the flood's.
"""

import argparse
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

from ebpflb.bench.flood_kernel import Generator
from ebpflb.bench.frames import FrameKind
from ebpflb.bench.load import parse_target
from ebpflb.bench.servers import die_with_parent
from ebpflb.core.abi import Protocol
from ebpflb.errors import EbpflbError

_FORGED_MAC = bytes.fromhex("02eb9f000001")
_FRAMES_A_CALL = 1_000_000
"""The kernel takes some fifty milliseconds to begin and end a call, and answers signals only between batches."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a flood at its source."""

    frames: int
    seconds: float


def send_flood(generator: Generator, frames: int) -> Sent:
    """Send so many frames. What a device of the lab does not take at once is not made any faster: one core does all."""
    began = time.monotonic()
    for done in range(0, frames, _FRAMES_A_CALL):
        generator.send(min(_FRAMES_A_CALL, frames - done))
    return Sent(generator.sent(), round(time.monotonic() - began, 3))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="forged SYNs or datagrams, each from another sender; JSON")
    parser.add_argument("--device", required=True)
    parser.add_argument("--destination-mac", required=True, metavar="MAC")
    parser.add_argument("--target", required=True, type=parse_target, metavar="HOST:PORT")
    parser.add_argument("--protocol", choices=["tcp", "udp"], required=True)
    parser.add_argument("--packets", type=int, required=True, metavar="N")
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
            sent = send_flood(generator, arguments.packets)
    except EbpflbError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(asdict(sent)) + "\n")


if __name__ == "__main__":
    main()
