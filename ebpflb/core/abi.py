"""The enums of ``bpf/lb/abi.h``, for Python. A unit test parses that file and compares every name and number.

Knows nothing of struct layouts: those come from the kernel's BTF (``datapath/layout.py``).
"""

from enum import IntEnum, IntFlag


class Family(IntEnum):
    """An IP family; the number is the one of the build flag ``-DFAMILY``."""

    IPV4 = 4
    IPV6 = 6

    @property
    def address_bytes(self) -> int:
        """Length of an address in bytes."""
        return 4 if self is Family.IPV4 else 16


class Protocol(IntEnum):
    """IANA protocol numbers of the transports that a Service can name, and 0, which no transport has."""

    ANY = 0
    """In the key of an address row (``FrontendKind.ADDRESS``): the address as such, whatever is sent to it."""
    TCP = 6
    UDP = 17
    SCTP = 132


class FrontendKind(IntEnum):
    """``enum lb_frontend_kind``."""

    CLUSTER_IP = 1
    NODE_PORT = 2
    LOAD_BALANCER = 3
    EXTERNAL_IP = 4
    ADDRESS = 5


class Algorithm(IntEnum):
    """``enum lb_algorithm``."""

    RANDOM = 1
    MAGLEV = 2


class FrontendFlag(IntFlag):
    """``enum lb_frontend_flag``."""

    LOCAL_POLICY = 1
    HAS_BACKENDS = 2
    DSR = 4
    SOURCE_RANGES = 8
    CLUSTER_ADDRESS = 16


class BackendState(IntEnum):
    """``enum lb_backend_state``."""

    NONE = 0
    ACTIVE = 1
    DRAINING = 2


class BackendFlag(IntFlag):
    """``enum lb_backend_flag`` (``LB_BACKEND_LOCAL``)."""

    LOCAL = 1


class MemberSet(IntFlag):
    """``enum lb_member_set``."""

    CLUSTER = 1
    LOCAL = 2
    SERVING = 4


class FlowFlag(IntFlag):
    """``enum lb_flow_flag``."""

    REPLY = 1
    AT_EGRESS = 2
    FORWARD = 4
    HAIRPIN = 8
    SNAT = 16
    DSR = 32


class DeviceFlag(IntFlag):
    """``enum lb_device_flag``."""

    XDP = 1
    PODS = 2
    POD_SOURCE = 4
    DIRECT = 8


class NodeAddrFlag(IntFlag):
    """``enum lb_node_addr_flag`` (``LB_NODE_ADDR_NODE_PORTS``)."""

    NODE_PORTS = 1


class ConfigFlag(IntFlag):
    """``enum lb_config_flag``."""

    MASQUERADE_ALL = 1
    DETECT_BY_NETWORK = 2
    DETECT_BY_DEVICE = 4
    LOOPBACK_NODE_PORTS = 8
    WRITTEN = 16


class FlowSeen(IntFlag):
    """``enum lb_flow_seen``."""

    SYN = 1
    DATA = 2
    FIN = 4
    RST = 8
    MOVED = 16


class Counter(IntEnum):
    """``enum lb_counter`` without its ``MAX``: the index of the per-CPU array ``counters``."""

    SOCK_TRANSLATED = 0
    SOCK_PASSED = 1
    SOCK_REJECTED = 2
    SOCK_RESTORED = 3
    PASSED = 4
    DELIVERED = 5
    FORWARDED = 6
    HAIRPINNED = 7
    REPLY_RESTORED = 8
    FLOW_CREATED = 9
    FLOW_RESELECTED = 10
    REJECTED = 11
    AFFINITY_HIT = 12
    DROP_NO_LOCAL_BACKEND = 13
    DROP_NO_SNAT_ADDRESS = 14
    DROP_NO_SNAT_PORT = 15
    DROP_FLOW_TABLE_FULL = 16
    DROP_NO_ROUTE = 17
    DROP_TOO_BIG = 18
    DROP_TTL = 19
    DROP_REWRITE = 20
    DROP_DEAD_SLOT = 21
    PASSED_FRAGMENT = 22
    FLOW_CONFIRMED = 23
    ICMP_TRANSLATED = 24
    ECHO_ANSWERED = 25
    TOO_BIG_ANSWERED = 26
    TTL_ANSWERED = 27
    FRAGMENT_HELD = 28
    FRAGMENT_RELEASED = 29
    DROP_FRAGMENT = 30
    DROP_SOURCE_RANGE = 31
    ENCAPSULATED = 32
    DECAPSULATED = 33
    XDP_TO_TC = 34
    SOCK_OPTED_OUT = 35
    BIND_REFUSED = 36
    DROP_UNUSED_ADDRESS = 37
    REJECTED_PORT = 38


SLOTS_PER_LINE = 16
"""Slots in one value of the map ``slots`` (``struct lb_slot_line``)."""

SERVICE_NAME_BYTES = 200
"""Length of ``lb_service.name``, NUL-padded."""

HELD_BYTES = 2040
"""Length of ``lb_held_fragment.frame``."""

MARK_BITS = 20
"""Bits of the map ``marks``, as a power of two (``LB_MARK_BITS``)."""

MARK_FACTOR = 0x9E3779B1
"""By which an address becomes the number of its bit (``LB_MARK_FACTOR``)."""
