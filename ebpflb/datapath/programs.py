"""The table of BPF programs: their names, sources, types, and where each is attached.

A program's name in the kernel is its stem and the number of the family that it serves: ``lb_connect4``. At most 15
characters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ebpflb.core.abi import Family

BPF_PROG_TYPE_SCHED_CLS = 3
BPF_PROG_TYPE_XDP = 6
BPF_PROG_TYPE_CGROUP_SOCK = 9
BPF_PROG_TYPE_CGROUP_SOCK_ADDR = 18
NO_ATTACH_TYPE = -1


@dataclass(frozen=True, slots=True)
class Program:
    """One function of ``bpf/*.c`` that becomes a program, in each family that has it."""

    stem: str
    source: str
    type: int
    attach_types: Mapping[Family, int] = field(default_factory=dict)
    """``enum bpf_attach_type`` for cgroup programs."""
    families: tuple[Family, ...] = tuple(Family)
    tail_call: tuple[str, int] | None = None
    """Prog array of its source and index: other programs of the build call it, and it is attached nowhere."""

    def name(self, family: Family) -> str:
        """Return the name that ``bpftool prog`` shows."""
        return f"{self.stem}{family.value}"

    def attach_type(self, family: Family) -> int:
        """Return the expected attach type, or ``NO_ATTACH_TYPE``."""
        return self.attach_types.get(family, NO_ATTACH_TYPE)


def _call_hook(stem: str, ipv4: int, ipv6: int) -> Program:
    return Program(stem, "lb_sock.c", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, {Family.IPV4: ipv4, Family.IPV6: ipv6})


def _state_hook(stem: str, ipv4: int, ipv6: int) -> Program:
    return Program(stem, "lb_sock.c", BPF_PROG_TYPE_CGROUP_SOCK, {Family.IPV4: ipv4, Family.IPV6: ipv6})


def _mapped(stem: str, hook: Program) -> Program:
    """Put a program of the IPv4 build on an IPv6 hook, for IPv6 sockets that speak IPv4 (::ffff:a.b.c.d)."""
    return Program(stem, hook.source, hook.type, {Family.IPV4: hook.attach_types[Family.IPV6]}, (Family.IPV4,))


_CONNECT = _call_hook("lb_connect", 10, 11)
_SENDMSG = _call_hook("lb_sendmsg", 14, 15)
_RECVMSG = _call_hook("lb_recvmsg", 19, 20)
_GETPEERNAME = _call_hook("lb_getpeername", 29, 30)
_POST_BIND = _state_hook("lb_post_bind", 12, 13)
_RELEASE = _state_hook("lb_release", 34, 34)

SOCKET_PROGRAMS = (
    *(_CONNECT, _SENDMSG, _RECVMSG, _GETPEERNAME, _POST_BIND, _RELEASE),
    _mapped("lb_v6_connect", _CONNECT),
    _mapped("lb_v6_recvmsg", _RECVMSG),
    _mapped("lb_v6_peername", _GETPEERNAME),
    _mapped("lb_v6_bind", _POST_BIND),
)
"""Attached to a cgroup; the numbers are BPF_CGROUP_INET4_CONNECT and its kin."""

UPLINK_IN = Program("lb_uplink_in", "lb_tc.c", BPF_PROG_TYPE_SCHED_CLS)
POD_IN = Program("lb_pod_in", "lb_tc.c", BPF_PROG_TYPE_SCHED_CLS)
OUT = Program("lb_out", "lb_tc.c", BPF_PROG_TYPE_SCHED_CLS)

UPLINK_IN_L3 = Program("lb_uplink_l3_", "lb_tc_l3.c", BPF_PROG_TYPE_SCHED_CLS)
POD_IN_L3 = Program("lb_pod_l3_", "lb_tc_l3.c", BPF_PROG_TYPE_SCHED_CLS)
OUT_L3 = Program("lb_out_l3_", "lb_tc_l3.c", BPF_PROG_TYPE_SCHED_CLS)

L3_PROGRAMS = (UPLINK_IN_L3, POD_IN_L3, OUT_L3)
"""For devices without an Ethernet header, which most nodes do not have."""

PACKET_PROGRAMS = (UPLINK_IN, POD_IN, OUT, *L3_PROGRAMS)
"""Attached by tc: ``UPLINK_IN`` and ``POD_IN`` at the ingress of a device, ``OUT`` at the egress of either."""

TAIL_PROGRAMS = (
    Program("lb_inspect", "lb_tc.c", BPF_PROG_TYPE_SCHED_CLS, tail_call=("tails", 0)),
    Program("lb_claim", "lb_tc.c", BPF_PROG_TYPE_SCHED_CLS, tail_call=("tails", 1)),
    Program("lb_finish", "lb_tc.c", BPF_PROG_TYPE_SCHED_CLS, tail_call=("tails", 2)),
)
"""Called by the packet programs, those of ``L3_PROGRAMS`` too, for all but plain packets of established flows."""

XDP_IN = Program("lb_xdp_in", "lb_xdp.c", BPF_PROG_TYPE_XDP)
"""Reached through the dispatcher on an uplink, by family."""

PROGRAMS = SOCKET_PROGRAMS + PACKET_PROGRAMS + TAIL_PROGRAMS + (XDP_IN,)

LATER_PROGRAMS = (*L3_PROGRAMS, XDP_IN)
"""For devices that not every node has: an agent builds them when the first one appears (ADR 25)."""


def programs_of(family: Family, programs: Iterable[Program] = PROGRAMS) -> tuple[Program, ...]:
    """Return the programs that the build of a family has."""
    return tuple(program for program in programs if family in program.families)
