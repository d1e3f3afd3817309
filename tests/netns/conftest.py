"""The labs that netns tests share. A module takes one by name; its pods answer on TCP 8080 and UDP 5353."""

from collections.abc import Iterator

import pytest

from ebpflb.bench.plan import PodNetwork
from ebpflb.bench.topology import Lab
from ebpflb.host.sock_diag import undestroyable
from tests.netns.lab_agents import serve_everywhere

UNCOVERED = (3, 1)
"""The pod whose sockets no socket hook sees, 10.244.3.11: only the packet hooks can serve it."""


@pytest.fixture(scope="module")
def lab_routed() -> Iterator[Lab]:
    """Three nodes with two pods each, on routed veths; pod 1 of node-3 is uncovered."""
    with Lab("routed", pod_network=PodNetwork.ROUTED, uncovered=[UNCOVERED]) as lab:
        serve_everywhere(lab)
        yield lab


@pytest.fixture(scope="session")
def destroys_sockets() -> None:
    """Skip where the kernel cannot do it: the agent says so there, and clients wait for their own timeout."""
    if undestroyable():
        pytest.skip("needs CONFIG_INET_DIAG_DESTROY: this kernel refuses to destroy sockets")
