"""The rtnetlink messages of clsact and of our bpf filters: how they are packed and read.

Decides priority, handle and name of our filters. Must not know when a filter is due.

    tc.py -> clsact_message, filter_message, filter_options -> kernel -> FilterMessage -> Attached
"""

import zlib
from dataclasses import dataclass
from enum import StrEnum
from socket import htons
from typing import Any, Final

from ebpflb.core.abi import Family
from ebpflb.host.links import Link
from ebpflb.host.pyroute import nla, nlmsg, tcmsg
from ebpflb.host.rtnetlink import Message

CLSACT_PARENT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
_BPF_DIRECT_ACTION: Final = 1
_PRIORITIES: Final = {Family.IPV4: 44, Family.IPV6: 46}
"""Early, since a filter that ends the chain hides later ones, but behind the single digits that people pick. One
priority holds one protocol."""
_ETHERTYPES: Final = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}
_OWNER: Final = "ebpflb"


class TcHook(StrEnum):
    """Where on a device a program runs, seen from the host."""

    INGRESS = "ingress"
    EGRESS = "egress"


PARENTS: Final = {TcHook.INGRESS: 0xFFFFFFF2, TcHook.EGRESS: 0xFFFFFFF3}


@dataclass(frozen=True, slots=True)
class Attached:
    """One of our filters, as found in the kernel."""

    ifindex: int
    device: str
    hook: TcHook
    family: Family
    instance: str
    program: str
    program_id: int


class _BpfOptions(nla):  # type: ignore[misc]  # pyroute2 is untyped
    """A bpf filter's attributes. pyroute2's own table ends before the program's id."""

    nla_map = (
        ("TCA_BPF_UNSPEC", "none"),
        ("TCA_BPF_ACT", "none"),
        ("TCA_BPF_POLICE", "none"),
        ("TCA_BPF_CLASSID", "uint32"),
        ("TCA_BPF_OPS_LEN", "none"),
        ("TCA_BPF_OPS", "none"),
        ("TCA_BPF_FD", "uint32"),
        ("TCA_BPF_NAME", "asciiz"),
        ("TCA_BPF_FLAGS", "uint32"),
        ("TCA_BPF_FLAGS_GEN", "uint32"),
        ("TCA_BPF_TAG", "none"),
        ("TCA_BPF_ID", "uint32"),
    )


class FilterMessage(nlmsg):  # type: ignore[misc]  # pyroute2 is untyped
    """A filter of any kind; the options of bpf filters alone are read.

    It stands beside pyroute2's ``tcmsg``: a subclass would share the attribute table compiled for its parent.
    """

    fields = tcmsg.fields
    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "get_options"))

    @staticmethod
    def get_options(message: Message, *_: Any, **__: Any) -> Any:
        """Return the class that reads TCA_OPTIONS."""
        return _BpfOptions if message.get_attr("TCA_KIND") == "bpf" else nla


def clsact_message(device: Link) -> Message:
    """Return the message that names a device's clsact."""
    message = tcmsg()
    message["index"] = device.ifindex
    message["handle"] = _CLSACT_HANDLE
    message["parent"] = CLSACT_PARENT
    message["attrs"] = [["TCA_KIND", "clsact"]]
    return message


def filter_message(device: Link, hook: TcHook, family: Family, instance: str) -> Message:
    """Return the message that names the one filter of an instance at a hook for a family."""
    message = tcmsg()
    message["index"] = device.ifindex
    # The same for the life of an instance, so that a successor replaces it, and different between instances.
    message["handle"] = zlib.crc32(instance.encode()) or 1
    message["parent"] = PARENTS[hook]
    message["info"] = _PRIORITIES[family] << 16 | htons(_ETHERTYPES[family])
    message["attrs"] = [["TCA_KIND", "bpf"]]
    return message


def filter_options(instance: str, program: str, descriptor: int) -> list[Any]:
    """Return the attribute that says which program a filter runs."""
    options = [
        ["TCA_BPF_FD", descriptor],
        ["TCA_BPF_NAME", f"{_OWNER}/{instance}/{program}"],
        ["TCA_BPF_FLAGS", _BPF_DIRECT_ACTION],
    ]
    return ["TCA_OPTIONS", {"attrs": options}]


def parse_filter(message: Message, device: Link, hook: TcHook) -> Attached | None:
    """Return a filter if it is ours, of whatever instance."""
    options = message.get_attr("TCA_OPTIONS")
    if message.get_attr("TCA_KIND") != "bpf" or options is None:
        return None
    owner, _, rest = (options.get_attr("TCA_BPF_NAME") or "").partition("/")
    instance, _, program = rest.partition("/")
    family = next((each for each, value in _PRIORITIES.items() if value == message["info"] >> 16), None)
    if owner != _OWNER or family is None:
        return None
    program_id = options.get_attr("TCA_BPF_ID") or 0
    return Attached(device.ifindex, device.name, hook, family, instance, program, program_id)
