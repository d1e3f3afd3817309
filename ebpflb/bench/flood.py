"""Floods a NodePort with forged SYNs and datagrams, and looks whether anybody who is no forger notices.

    FloodStage + flags -> clients at work -> flood_sender (child) in the client's namespace -> FloodReport -> exit code

Needs root, and Linux 5.18 for the generator. Everything happens in namespaces of its own.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ebpflb.bench.control import Load, measure
from ebpflb.bench.flood_report import Clients, FloodReport, Wave
from ebpflb.bench.flood_sender import Sent
from ebpflb.bench.flood_stage import Call, FloodStage, staged
from ebpflb.bench.frames import DISTINCT
from ebpflb.core.abi import Family, Protocol
from ebpflb.errors import EbpflbError

_SENDER = "ebpflb.bench.flood_sender"
_KEPT_RATE, _NEW_RATE = 20.0, 10.0
"""Requests a second of each client."""
_AFTERWARDS, _AFTERWARDS_SECONDS = 100, 10
"""New connections that each client makes when the flood is over; if they fail, fewer, for so long."""
_SECONDS_A_MILLION = 600.0
"""The longest that a million frames may take."""


@dataclass(frozen=True, slots=True)
class FloodPlan:
    """What is asked for."""

    packets: int
    """Of each protocol."""
    protocols: tuple[Protocol, ...]


def run_flood(stage: FloodStage, plan: FloodPlan) -> FloodReport:
    """Let clients work, flood them, let them go on."""
    counters, fill = stage.counters(), stage.fill()
    calls = stage.calls
    with ExitStack() as stack:
        kept = {call: stack.enter_context(stage.keep_asking(call, _KEPT_RATE)) for call in calls}
        new = {call: stack.enter_context(stage.keep_connecting(call, _NEW_RATE)) for call in calls}
        waves = [_wave(stage, protocol, plan) for protocol in plan.protocols]
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


def _wave(stage: FloodStage, protocol: Protocol, plan: FloodPlan) -> Wave:
    client, node = stage.lab.client, stage.lab.node(1)
    (link,) = json.loads(node.run(["ip", "-j", "link", "show", node.uplink]).stdout)
    arguments = ["--device", node.uplink, "--destination-mac", link["address"], "--target", stage.flooded(protocol)]
    arguments += ["--protocol", protocol.name.lower(), "--packets", str(plan.packets)]
    seconds = 30.0 + _SECONDS_A_MILLION * plan.packets / 1e6
    before = _received(stage)
    said = client.run_module(_SENDER, arguments, seconds=seconds)
    return Wave(protocol.name, Sent(**json.loads(said.splitlines()[-1])), _received(stage) - before)


def _received(stage: FloodStage) -> int:
    node = stage.lab.node(1)
    (link,) = json.loads(node.run(["ip", "-j", "-s", "link", "show", node.uplink]).stdout)
    return int(link["stats64"]["rx"]["packets"])


def _packets(text: str) -> int:
    packets = int(text)
    if not 0 < packets <= DISTINCT:
        raise argparse.ArgumentTypeError(f"{text}: from 1 to {DISTINCT}, so many senders there are")
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


def main() -> int:
    """Play the flood; return 0 when it was withstood."""
    arguments = _parser().parse_args()
    chosen = ["tcp", "udp"] if arguments.protocol == "both" else [arguments.protocol]
    plan = FloodPlan(arguments.packets, tuple(Protocol[name.upper()] for name in chosen))
    flags = _agent_flags(arguments.hook, arguments.map_size)
    try:
        with staged(Family[arguments.family.upper()], flags) as stage:
            report = run_flood(stage, plan)
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
