"""The measure of frames: a tiny run of all contenders, and a sink that nothing reaches."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ebpflb.bench import frame_lanes
from ebpflb.bench.agents import BPFFS
from ebpflb.bench.frame_contenders import DROP, FORWARDING, LEGACY, NFT, NFTABLES, SWAP, contending, ours
from ebpflb.bench.frame_lanes import FIRST_PORT, Lane, Sink, Way
from ebpflb.bench.frame_rig import CLIENTS, PREFIX, built
from ebpflb.bench.live_core import Core
from ebpflb.bench.live_frames import FLOWS, MARK, Target
from ebpflb.bench.measure import RefusedError

pytestmark = pytest.mark.root

FRAMES = 640
"""Ten batches: pages come back as the receiver left them."""
SERVICES = 5


def counters() -> dict[str, int]:
    """Return what the product's one agent of this process has counted."""
    (folder,) = (BPFFS / "ebpflb").glob(f"{PREFIX}-{os.getpid()}-*")
    command = [sys.executable, "-m", "ebpflb", "dump-maps", "counters", "-o", "json", "--instance", folder.name]
    document = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {row["counter"]: row["value"] for row in document["families"]["ipv4"]["counters"]}


def test_every_contender_carries_every_frame() -> None:
    """The product's by the hook that its way names: what comes in by uplink0 does not get as far as tc."""
    with Core() as core, contending(core, [SERVICES]) as contest:
        lanes = contest.lanes
        before = counters()
        for way in Way:
            lanes[ours(SERVICES), way].burst(FRAMES)
        grown = {name: value - before[name] for name, value in counters().items()}
        assert grown["forwarded"] >= 3 * FRAMES
        assert grown["xdp_to_tc"] < FRAMES
        for name in {ours(SERVICES), FORWARDING, LEGACY, NFT, NFTABLES} - contest.absent.keys():
            assert {way for contender, way in lanes if contender == name} == set(Way)
        assert {contender for contender, way in lanes if way is Way.REMOTE} >= {SWAP, DROP}
        for lane in lanes.values():
            assert 10 < lane.burst(FRAMES) < 1e6  # nanoseconds


def test_frames_that_arrive_elsewhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_lanes, "_ARRIVAL_SECONDS", 0.1)
    with ExitStack() as undo:
        core = undo.enter_context(Core())
        rig = undo.enter_context(built("deaf"))
        way = Way.LOCAL
        sink = Sink(core, way.home(rig), "eth0", Target(way.backend, 1))
        undo.callback(sink.close)
        lane = Lane(core, rig, way, way.endpoint, sink=sink)
        undo.callback(lane.close)
        with pytest.raises(RefusedError, match="of 64 frames 0 arrived"):
            lane.burst(64)


def test_frames_are_whole_and_of_every_flow() -> None:
    with ExitStack() as undo:
        core = undo.enter_context(Core())
        rig = undo.enter_context(built("heard"))
        way = Way.STACK
        sink = Sink(core, way.home(rig), "eth0", way.endpoint, in_stack=True)
        undo.callback(sink.close)
        lane = Lane(core, rig, way, way.endpoint, sink=sink)
        undo.callback(lane.close)
        heard = core.run(rig.node, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800)))
        undo.enter_context(heard)
        heard.settimeout(60)
        core.run(rig.node, lambda: heard.bind(("uplink1", 0x800)))
        lane.burst(4 * FLOWS)
        frames = [heard.recv(2000) for _ in range(2 * FLOWS)]
    assert {Ether(frame)[UDP].sport for frame in frames} == set(range(FIRST_PORT, FIRST_PORT + FLOWS))
    for frame in frames:
        packet = Ether(frame)
        assert (packet[IP].src, bytes(packet[UDP].payload)[:4]) == (CLIENTS[1], MARK)
        del packet[UDP].chksum, packet[IP].chksum
        assert bytes(packet) == frame
