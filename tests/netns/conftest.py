"""What netns tests share by name: labs, whose pods answer on TCP 8080 and UDP 5353, and one device for XDP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.plan import PodNetwork
from ebpflb.bench.topology import Lab
from ebpflb.host.links import Link
from ebpflb.host.sock_diag import undestroyable
from tests.netns.lab_agents import serve_everywhere
from tests.netns.xdp_devices import bpf_folder, veth_pair

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


@pytest.fixture
def xdp_folder() -> Iterator[Path]:
    """A folder on bpffs for a test's own programs and links."""
    with bpf_folder() as made:
        yield made


@pytest.fixture
def veth() -> Iterator[Link]:
    """One end of a veth pair, in a namespace of its own where the test runs."""
    with veth_pair() as link:
        yield link
