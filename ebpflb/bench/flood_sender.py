"""Sends a flood out of a device of the network namespace that it is started in, as fast as one core makes it.

    python -m ebpflb.bench.flood_sender --device uplink0 --destination-mac MAC --target HOST:PORT --protocol tcp
        "100000" on stdin -> so many frames more, each from another sender -> "sent 100000": how many by now

Apart from the bench, since a network namespace belongs to a thread, and so that the clients' times are not the flood's.
How many it takes until enough have arrived is the bench's business (``flood_wave.py``).
"""

import argparse
import socket
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from ebpflb.bench.flood_kernel import Generator
from ebpflb.bench.frames import FrameKind
from ebpflb.bench.load import parse_target
from ebpflb.bench.servers import die_with_parent
from ebpflb.core.abi import Protocol
from ebpflb.errors import EbpflbError

FORGED_MAC: Final = "02:eb:9f:00:00:01"
"""The source of all its frames, and of no others."""


def send_flood(generator: Generator, commands: Iterable[str], answers: TextIO) -> None:
    """Do what each line says."""
    for line in commands:
        generator.send(int(line))
        answers.write(f"sent {generator.sent()}\n")
        answers.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="forged SYNs or datagrams, each from another sender")
    parser.add_argument("--device", required=True)
    parser.add_argument("--destination-mac", required=True, metavar="MAC")
    parser.add_argument("--target", required=True, type=parse_target, metavar="HOST:PORT")
    parser.add_argument("--protocol", choices=["tcp", "udp"], required=True)
    return parser


def main() -> None:
    """Send what it is told to, until its stdin ends."""
    arguments = _parser().parse_args()
    die_with_parent()
    host, port = arguments.target
    source, destination = (bytes.fromhex(mac.replace(":", "")) for mac in (FORGED_MAC, arguments.destination_mac))
    kind = FrameKind(Protocol[arguments.protocol.upper()], source, destination, host, port)
    try:
        with Generator(kind, socket.if_nametoindex(arguments.device)) as generator:
            send_flood(generator, sys.stdin, sys.stdout)
    except EbpflbError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
