"""Floods a NodePort with forged SYNs and datagrams, and looks whether anybody who is no forger notices.

    FloodStage + flags -> clients at work -> flood_wave.py, for each protocol -> FloodReport -> exit code

Needs root, and Linux 5.18 for the generator. Everything happens in namespaces of its own.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ebpflb.bench.control import Load, measure
from ebpflb.bench.flood_report import Clients, FloodReport
from ebpflb.bench.flood_stage import Call, FloodStage, staged
from ebpflb.bench.flood_wave import send_wave
from ebpflb.bench.frames import DISTINCT
from ebpflb.core.abi import Family, Protocol
from ebpflb.errors import EbpflbError

MOST = DISTINCT // 20
"""Packets: as many senders again, and more, are needed for those that do not arrive."""
_KEPT_RATE, _NEW_RATE = 20.0, 10.0
"""Requests a second of each client."""
_AFTERWARDS, _AFTERWARDS_SECONDS = 100, 10
"""New connections that each client makes when the flood is over; if they fail, fewer, for so long."""


@dataclass(frozen=True, slots=True)
class FloodPlan:
    """What is asked for."""

    packets: int
    """Of each protocol, that must arrive."""
    protocols: tuple[Protocol, ...]


def run_flood(stage: FloodStage, plan: FloodPlan, say: Callable[[str], None] = lambda _line: None) -> FloodReport:
    """Let clients work, flood them, let them go on; ``say`` hears how far the flood has got."""
    counters, fill = stage.counters(), stage.fill()
    calls = stage.calls
    with ExitStack() as stack:
        kept = {call: stack.enter_context(stage.keep_asking(call, _KEPT_RATE)) for call in calls}
        new = {call: stack.enter_context(stage.keep_connecting(call, _NEW_RATE)) for call in calls}
        waves = [send_wave(stage, protocol, plan.packets, say) for protocol in plan.protocols]
        clients = _stopped("new, meanwhile", new)
        after = stage.fill()
        clients += [
            Clients("new, afterwards", call.protocol.name, call.name, measure(stage.lab.client, *_again(call)))
            for call in calls
        ]
        clients = _stopped("established", kept) + clients
    grown = stage.counters()
    return FloodReport(
        waves=waves,
        clients=clients,
        counters={name: count - counters[name] for name, count in grown.items()},
        fill={name: (fill[name][0], *after[name]) for name in fill},
        agents_alive=all(stage.agents[node.number].running.is_running for node in stage.lab.nodes),
    )


def _again(call: Call) -> list[str]:
    return call.arguments("--count", str(_AFTERWARDS), "--seconds", str(_AFTERWARDS_SECONDS))


def _stopped(kind: str, loads: dict[Call, Load]) -> list[Clients]:
    return [Clients(kind, call.protocol.name, call.name, load.stop()) for call, load in loads.items()]


def _packets(text: str) -> int:
    packets = int(text)
    if not 0 < packets <= MOST:
        raise argparse.ArgumentTypeError(f"{text}: from 1 to {MOST}: each has its own sender, and many get lost")
    return packets


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ebpflb.bench.flood", description=__doc__)
    parser.add_argument("--packets", type=_packets, default=10_000_000, help="of each protocol (default %(default)s)")
    parser.add_argument("--protocol", choices=["tcp", "udp", "both"], default="both")
    parser.add_argument("--family", choices=["ipv4", "ipv6"], default="ipv4")
    parser.add_argument("--hook", choices=["tc", "xdp"], default="tc", help="which hook of the uplinks sees it first")
    parser.add_argument("--map-size", action="append", default=[], metavar="NAME=ENTRIES", help="as of `ebpflb run`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was seen")
    return parser


def _agent_flags(hook: str, sizes: Sequence[str]) -> list[str]:
    flags = [word for size in sizes for word in ("--map-size", size)]
    return [*flags, "--acceleration", "native" if hook == "xdp" else "off"]


def _say(line: str) -> None:
    sys.stderr.write(f"flood: {line}\n")
    sys.stderr.flush()


def main() -> int:
    """Play the flood; return 0 when it was withstood."""
    arguments = _parser().parse_args()
    chosen = ["tcp", "udp"] if arguments.protocol == "both" else [arguments.protocol]
    plan = FloodPlan(arguments.packets, tuple(Protocol[name.upper()] for name in chosen))
    flags = _agent_flags(arguments.hook, arguments.map_size)
    try:
        with staged(Family[arguments.family.upper()], flags) as stage:
            report = run_flood(stage, plan, _say)
    except EbpflbError as error:
        sys.stderr.write(f"flood: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("flood: interrupted; everything was removed\n")
        return 130
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.document(), indent=2) + os.linesep, encoding="utf-8")
    sys.stdout.writelines(f"{line}\n" for line in report.lines())
    return 1 if report.complaints() else 0


if __name__ == "__main__":
    sys.exit(main())
