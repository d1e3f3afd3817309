"""The paths that a measure sends frames along, and what one burst along a path costs.

Decides where frames go in and where they are counted, opens their flows by real datagrams, and refuses a burst of which
any frame did not arrive translated. Knows no contender and no figure.

    Rig, Way -> Lane -> burst(frames) -> nanoseconds of one core per frame, or RefusedError
"""

import socket
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final

from ebpflb.bench.frame_rig import CLIENTS, PODS, REMOTE, UPLINKS, Rig, mac
from ebpflb.bench.live_core import Core
from ebpflb.bench.live_frames import FLOWS, Stream, Target, generator_code, sink_code, template
from ebpflb.bench.live_kernel import CountingProgram, LiveProgram
from ebpflb.bench.measure import RefusedError
from ebpflb.bench.rulesets import PeerService
from ebpflb.errors import EbpflbError

SERVICE_PORT: Final = 53
POD_PORT: Final = 5353
FIRST_PORT: Final = 20000
_ARRIVAL_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 20.0
"""Both only of a path that loses something: a machine that others keep busy is late now and then."""


class Way(Enum):
    """A way through a rig: by which uplink frames come in, who answers their Service, and where they are counted."""

    STACK = (1, PODS[0], "by uplink1 to a pod that takes skbs: tc, and no XDP")
    LOCAL = (0, PODS[1], "by uplink0 to a pod that takes frames from XDP")
    REMOTE = (0, REMOTE, "by uplink0 to another node's pod, back out of uplink0")

    def __init__(self, uplink: int, backend: str, words: str) -> None:
        self.uplink = uplink
        self.backend = backend
        self.words = words

    @property
    def service(self) -> PeerService:
        """The Service with this backend."""
        number = list(Way).index(self) + 1
        name = f"bench/{self.name.lower()}:dns"
        return PeerService(name, f"10.96.0.{number}", SERVICE_PORT, ((self.backend, POD_PORT),), "udp")

    @property
    def endpoint(self) -> Target:
        """Where the backend listens."""
        return Target(self.backend, POD_PORT)

    def home(self, rig: Rig) -> str:
        """Return the namespace that has the backend."""
        return rig.client if self is Way.REMOTE else rig.pod(PODS.index(self.backend) + 1)


def services(count: int) -> list[PeerService]:
    """Return so many Services; those of the ways are the last, where iptables finds them last."""
    own = [way.service for way in Way]
    others = [
        PeerService(f"bench/other-{n}:dns", f"10.97.{n >> 8}.{n & 255}", SERVICE_PORT, ((PODS[0], POD_PORT),), "udp")
        for n in range(count - len(own))
    ]
    return [*others, *own]


class Sink:
    """Where frames end and are counted: in an XDP program of whoever receives them.

    ``in_stack``: where his kernel has the skb, however it came there: handed over by tc, it passes no driver. That is
    the earliest place that all ways of an skb share.
    """

    def __init__(self, core: Core, namespace: str, device: str, target: Target, *, in_stack: bool = False) -> None:
        self._program = CountingProgram("bench_sink", lambda counter: sink_code(target, counter))
        try:
            attach = partial(_attach, self._program, device, in_stack=in_stack)
            core.run(namespace, attach)
        except BaseException:
            self.close()
            raise

    def count(self) -> int:
        """Return how many frames have arrived."""
        return self._program.count()

    def close(self) -> None:
        """Let go of the program, which lives on while it is attached."""
        self._program.close()


def _attach(program: CountingProgram, device: str, *, in_stack: bool) -> None:
    program.attach(socket.if_nametoindex(device), in_stack=in_stack)


class Lane:
    """A path of one rig, with its generator and its sink."""

    def __init__(self, core: Core, rig: Rig, way: Way, target: Target, *, sink: Sink) -> None:
        self._core = core
        self._rig = rig
        self._sink = sink
        self._name = f"{rig.name}, {way.words}"
        client, uplink = (
            bytes.fromhex(mac(device).replace(":", "")) for device in (f"client{way.uplink}", UPLINKS[way.uplink])
        )
        stream = Stream(client, uplink, Target(CLIENTS[way.uplink], FIRST_PORT), target)
        ifindex = core.run(rig.client, lambda: socket.if_nametoindex(f"eth{way.uplink}"))
        code = _code_of(stream, ifindex)
        self._generator = LiveProgram("bench_frames", template(stream), ifindex, code)

    def close(self) -> None:
        """Unload the generator."""
        self._generator.close()

    def burst(self, frames: int) -> float:
        """Send frames and return what each took the core, in nanoseconds; raises ``RefusedError`` if one is missing."""
        before = self._sink.count()
        spent = self._core.run(self._rig.client, lambda: self._core.spent(lambda: self._generator.send(frames)))
        arrived = self._arrived(before + frames) - before
        if arrived != frames:
            raise RefusedError(
                f"frames: of {frames} frames {arrived} arrived ({self._name})",
                remedy="run it again; if it stays so, the rig does not carry what was to be measured",
            )
        return spent / frames

    def _arrived(self, wanted: int) -> int:
        """Return the sink's count, as soon as all have arrived: the last may be under way."""
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while (count := self._sink.count()) < wanted and time.monotonic() < deadline:
            continue
        return count


def _code_of(stream: Stream, ifindex: int) -> Callable[[int], bytes]:
    return lambda counter: generator_code(stream, counter, ifindex)


def open_flows(core: Core, rig: Rig, way: Way, target: Target, ports: Sequence[int] = range(FLOWS)) -> None:
    """Have the path's flows established: a question, its answer, another question, by sockets of both ends.

    What a socket hears has passed the checks of its kernel: addresses and checksums are right both ways.
    """
    backend = core.run(way.home(rig), lambda: _socket((way.backend, POD_PORT)))
    with backend:
        for port in ports:
            source = (CLIENTS[way.uplink], FIRST_PORT + port)
            with core.run(rig.client, partial(_socket, source, f"eth{way.uplink}")) as client:
                _converse(client, backend, target, way)


def _converse(client: socket.socket, backend: socket.socket, target: Target, way: Way) -> None:
    try:
        for question in (b"first", b"second", b"third"):
            client.sendto(question, (target.address, target.port))
            heard, asker = backend.recvfrom(2048)
            backend.sendto(heard, asker)
            answer, answerer = client.recvfrom(2048)
            if answer != question or answerer != (target.address, target.port):
                raise RefusedError(f"frames: {answerer} answered {answer!r} to {question!r} for {target.address}")
    except TimeoutError:
        raise EbpflbError(
            f"bench: no datagram comes through to {target.address}:{target.port} {way.words}",
            remedy="look at the rules of the machine for new network namespaces",
        ) from None


def _socket(address: tuple[str, int], device: str = "") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(_ANSWER_SECONDS)
    if device:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    made.bind(address)
    return made
