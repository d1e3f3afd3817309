"""One small, complete set of rows that the tests of decoding and printing look at."""

import numpy as np

from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    ConfigFlag,
    DeviceFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.model import parse_address
from ebpflb.core.tables import (
    EMPTY_RANGE,
    Backend,
    BackendKey,
    ConfigRow,
    DeviceRow,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Prefix,
    Range,
    SourceRangeKey,
    Tables,
)

WEB, DNS = 1, 2
CLUSTER, LOCAL = Range(16, 5), Range(16, 1)


def backend(address: str, state: BackendState = BackendState.ACTIVE, *, local: bool = False) -> Backend:
    flags = BackendFlag.LOCAL if local else BackendFlag(0)
    return Backend(BackendKey(parse_address(address), 8080, Protocol.TCP), state, flags, 9)


def prefix(address: str, length: int) -> Prefix:
    return Prefix(parse_address(address), length)


def tables() -> Tables:
    """Service web with four backends, one of them local and one draining; service dns without any."""
    flags = FrontendFlag.LOCAL_POLICY | FrontendFlag.HAS_BACKENDS | FrontendFlag.DSR
    return Tables(
        family=Family.IPV4,
        frontends={
            FrontendKey(parse_address("10.96.0.10"), 80, Protocol.TCP): Frontend(
                WEB, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 60, CLUSTER, LOCAL
            ),
            FrontendKey(bytes(4), 30080, Protocol.TCP): Frontend(
                WEB, FrontendKind.NODE_PORT, Algorithm.MAGLEV, flags, 60, CLUSTER, LOCAL
            ),
            FrontendKey(parse_address("10.96.0.53"), 53, Protocol.UDP): Frontend(
                DNS, FrontendKind.EXTERNAL_IP, Algorithm.RANDOM, FrontendFlag(0), 0, EMPTY_RANGE, EMPTY_RANGE
            ),
        }
        | {
            FrontendKey(parse_address(address), 0, Protocol.ANY): Frontend(
                0, FrontendKind.ADDRESS, Algorithm.RANDOM, has_backends, 0, EMPTY_RANGE, EMPTY_RANGE
            )
            for address, has_backends in (("10.96.0.10", FrontendFlag.HAS_BACKENDS), ("10.96.0.53", FrontendFlag(0)))
        },
        backends={
            1: backend("10.1.0.1", local=True),
            2: backend("10.1.0.2"),
            3: backend("10.1.0.3"),
            4: backend("10.1.0.4"),
            5: backend("10.1.0.5", BackendState.DRAINING),
        },
        services={WEB: "default/web:http/TCP", DNS: "kube-system/dns/UDP"},
        members={
            MemberKey(WEB, 1): MemberSet.CLUSTER | MemberSet.LOCAL | MemberSet.SERVING,
            MemberKey(WEB, 2): MemberSet.CLUSTER | MemberSet.SERVING,
            MemberKey(WEB, 5): MemberSet.SERVING,
        },
        local_backends={LocalBackendKey(WEB, parse_address("10.1.0.1")): 1},
        source_ranges={SourceRangeKey(WEB, parse_address("192.0.2.0"), 24): 0},
        node_addrs={
            parse_address("192.0.2.1"): NodeAddrFlag.NODE_PORTS,
            parse_address("192.0.2.2"): NodeAddrFlag(0),
        },
        devices={
            7: DeviceRow(parse_address("192.0.2.1"), 9000, DeviceFlag.XDP),
            8: DeviceRow(bytes(4), 1500, DeviceFlag(0)),
        },
        opt_outs={4711: 0},
        service_cidrs={prefix("10.96.0.0", 16): 0},
        config={
            0: ConfigRow(
                ConfigFlag.WRITTEN | ConfigFlag.DETECT_BY_NETWORK | ConfigFlag.LOOPBACK_NODE_PORTS,
                prefix("10.1.0.0", 16),
                prefix("10.96.0.0", 16),
            )
        },
        slots={CLUSTER: np.array([1, 2, 3, 4, 1], np.uint32), LOCAL: np.array([1], np.uint32)},
    )
