"""Fragments in any order: the first one of a datagram notes the ports, later ones look there or wait.

    Work, frame --take--> None (go on, the ports are known), or a Decision: wait, or not ours

A fragment that finds the note lets one waiting fragment go. Notes die after 30 seconds: the campaign keeps them young.
"""

from dataclasses import replace

from ebpflb.core.abi import HELD_BYTES, Counter, FlowSeen
from tests.fuzz.decision import Act, Decision, Work
from tests.fuzz.headers import Kind
from tests.fuzz.packet import TRANSPORTS
from tests.fuzz.rows import Datagram, Detector, lies_in

_DATA = int(FlowSeen.DATA)
_HOLD_ATTEMPTS = 4


def take(work: Work, frame: bytes, *, may_wait: bool) -> Decision | None:
    """Take a fragment in. ``may_wait``: it is coming in, not leaving; only there do others wait."""
    packet = work.packet
    noted = work.world.datagrams.get(packet.datagram)
    if packet.kind is Kind.FIRST_FRAGMENT:
        ports = (int.from_bytes(end, "big") for end in (packet.ends[-4:-2], packet.ends[-2:]))
        sport, dport = ports
        note = Datagram(sport, dport, 1) if noted is None else replace(noted, sport=sport, dport=dport, is_known=1)
        work.changes["datagrams", packet.datagram] = note
        if may_wait:
            _release(work, note, frame)
        return None
    if noted is None or not noted.is_known:
        if may_wait and _concerns_us(work):
            return _hold(work, noted or Datagram(0, 0, 0), frame)
        return None if _is_guarded(work) else _pass(work)
    packet.ends = packet.ends[:-4] + noted.sport.to_bytes(2, "big") + noted.dport.to_bytes(2, "big")
    packet.seen = _DATA
    if may_wait:
        _release(work, noted, frame)
    return None


def held_key(datagram: bytes, number: int) -> bytes:
    """Return the key under which a fragment waits."""
    return datagram + number.to_bytes(4, "little")


def _pass(work: Work) -> Decision:
    work.counts.append(Counter.PASSED_FRAGMENT)
    return Decision(Act.PASS, work)


def _concerns_us(work: Work) -> bool:
    """Could it be for a Service, or the reply to a masqueraded flow?"""
    packet, size = work.packet, work.world.family.address_bytes
    if packet.protocol not in TRANSPORTS:
        return False
    address, world = packet.ends[size : 2 * size], work.world
    if packet.outer_daddr or (address, 0, 0) in world.frontends or address in world.node_addrs:
        return True
    return world.config.detector is Detector.NETWORK and lies_in(address, world.config.pods)


def _is_guarded(work: Work) -> bool:
    """Say whether the claim must see it, ports or not: an address of no Service leads nowhere."""
    size = work.world.family.address_bytes
    return lies_in(work.packet.ends[size : 2 * size], work.world.config.guard)


def _hold(work: Work, note: Datagram, frame: bytes) -> Decision:
    key = work.packet.datagram
    if len(frame) > HELD_BYTES:
        work.changes["datagrams", key] = note
        return Decision(Act.DROP, work, reason=Counter.DROP_FRAGMENT)
    work.changes["held_fragments", held_key(key, note.held)] = frame
    work.changes["datagrams", key] = replace(note, held=note.held + 1)
    return Decision(Act.DROP, work, reason=Counter.FRAGMENT_HELD)


def _release(work: Work, note: Datagram, frame: bytes) -> None:
    """Let one waiting fragment go: it comes in once more, by itself. Numbers that nobody has are passed over."""
    if len(frame) > HELD_BYTES:
        return
    key = work.packet.datagram
    for number in range(note.released, min(note.held, note.released + _HOLD_ATTEMPTS)):
        work.changes["datagrams", key] = replace(note, released=number + 1)
        waiting = held_key(key, number)
        if waiting in work.world.held:
            work.changes["held_fragments", waiting] = None
            work.counts.append(Counter.FRAGMENT_RELEASED)
            return
