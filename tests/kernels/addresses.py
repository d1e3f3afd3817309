"""The addresses and ports of the smoke test, by name and family; shared by the test and its pod."""

from ebpflb.core.abi import Family

TCP_PORT = 80
UDP_PORT = 53
NODE_PORT = 30080

ADDRESSES = {
    Family.IPV4: {
        "cluster": "10.96.0.10",
        "empty": "10.96.0.11",
        "backend": "10.1.1.1",
        "backend2": "10.1.1.2",
        "node": "192.0.2.1",
        "loopback": "127.0.0.1",
        "any": "0.0.0.0",
    },
    Family.IPV6: {
        "cluster": "fd00:96::10",
        "empty": "fd00:96::11",
        "backend": "fd00:1:1::1",
        "backend2": "fd00:1:1::2",
        "node": "2001:db8:2::1",
        "loopback": "::1",
        "any": "::",
    },
}
"""``backend*`` and ``node`` are the pod's own; nothing leads to ``empty``, a Service without backends."""
