"""One wave of a flood: decides how many frames it takes until as many as were asked for have reached node-1.

A generator is faster than what it floods: most of its frames find a full queue somewhere on the way. Who is to be
flooded with ten million must get ten million, so what was lost is made up for by further frames, from further senders.

    FloodStage, Protocol, wanted -> flood_sender (child) in the client's namespace, turn by turn -> Wave

What arrives is counted where the switch hands frames to node-1, by the forged MAC: neither the clients nor the
backends' answers to forged senders count. What the queue of node-1's uplink refuses is taken off again.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ebpflb.bench.flood_report import Wave
from ebpflb.bench.flood_sender import FORGED_MAC
from ebpflb.bench.flood_stage import FloodStage
from ebpflb.bench.namespaces import entered
from ebpflb.bench.process import Running
from ebpflb.core.abi import Protocol
from ebpflb.errors import EbpflbError

_SENDER = "ebpflb.bench.flood_sender"
_A_TURN: Final = 200_000
"""Frames between two looks at what has arrived. The kernel takes some fifty milliseconds to begin and end a call, and
answers signals only between batches."""
_START_SECONDS, _SECONDS_A_MILLION = 60.0, 600.0
"""The longest that a wave may take: to begin, and for a million frames that arrive."""
_PROGRESS_SECONDS = 5.0
_TABLE = "flood"
_PORT = "node-1"
"""Of the lab's switch."""
_COUNTER = f"""
add table bridge {_TABLE}
add chain bridge {_TABLE} out {{ type filter hook postrouting priority 0; }}
add rule bridge {_TABLE} out oifname "{_PORT}" ether saddr {FORGED_MAC} counter
"""


def send_wave(stage: FloodStage, protocol: Protocol, wanted: int, say: Callable[[str], None]) -> Wave:
    """Flood node-1 until so many frames have reached it, or time is over."""
    began = time.monotonic()
    limit = _START_SECONDS + _SECONDS_A_MILLION * wanted / 1e6
    sent = reached = 0
    said_at = began
    with _counting(f"{stage.lab.id}-switch") as arrived, _sender(stage, protocol) as sender:
        while reached < wanted and time.monotonic() - began < limit:
            sent = _send(sender, sent, min(_A_TURN, wanted - reached), limit)
            reached = arrived()
            if time.monotonic() - said_at >= _PROGRESS_SECONDS:
                said_at = time.monotonic()
                say(f"{protocol.name}: {reached:,} of {wanted:,} frames have arrived, {sent:,} were sent")
    return Wave(protocol.name, wanted, sent, reached, round(time.monotonic() - began, 3))


def _send(sender: Running, sent: int, more: int, seconds: float) -> int:
    sender.tell(str(more))
    sender.wait_for_line(lambda line: line == f"sent {sent + more}", seconds)
    return sent + more


@contextmanager
def _sender(stage: FloodStage, protocol: Protocol) -> Iterator[Running]:
    node = stage.lab.node(1)
    (link,) = json.loads(node.run(["ip", "-j", "link", "show", node.uplink]).stdout)
    arguments = ["--device", node.uplink, "--destination-mac", link["address"], "--target", stage.flooded(protocol)]
    with stage.lab.client.popen_module(_SENDER, [*arguments, "--protocol", protocol.name.lower()]) as running:
        yield running


@contextmanager
def _counting(switch: str) -> Iterator[Callable[[], int]]:
    """Count at the switch; what is yielded returns how many frames have reached node-1 by now."""
    _run(switch, ["nft", _COUNTER])
    try:
        refused = _refused(switch)
        yield lambda: _handed_over(switch) - (_refused(switch) - refused)
    finally:
        _run(switch, ["nft", "delete", "table", "bridge", _TABLE])


def _handed_over(switch: str) -> int:
    shown = json.loads(_run(switch, ["nft", "-j", "list", "table", "bridge", _TABLE]))["nftables"]
    expressions: list[dict[str, Any]] = next(each["rule"]["expr"] for each in shown if "rule" in each)
    return next(int(each["counter"]["packets"]) for each in expressions if "counter" in each)


def _refused(switch: str) -> int:
    (link,) = json.loads(_run(switch, ["ip", "-j", "-s", "link", "show", _PORT]))
    return int(link["stats64"]["tx"]["dropped"])


def _run(switch: str, command: list[str]) -> str:
    done = subprocess.run(entered(switch, None, command), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EbpflbError(
            f"flood: {command[0]} fails at the switch ({(done.stderr or done.stdout).strip()})",
            remedy="install nftables and iproute2; the kernel needs nf_tables of the bridge family",
        )
    return done.stdout
