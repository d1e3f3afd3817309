"""Programs for packet tests: built once a session and family, in a network namespace that nobody else sees."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from ebpflb.core.abi import Family, Protocol
from ebpflb.datapath.clock import JiffiesClock
from tests.prog.harness import Datapath
from tests.prog.lab import Lab
from tests.prog.sockets import SocketLab
from tests.prog.world import Namespace


@pytest.fixture(scope="session")
def datapath_of() -> Iterator[Callable[[Family], Datapath]]:
    """Give the programs of a family, built at first use."""
    with ExitStack() as stack:
        clock = stack.enter_context(JiffiesClock())
        namespace = stack.enter_context(Namespace())
        yield cache(lambda family: stack.enter_context(Datapath(family, namespace, clock)))


@pytest.fixture(scope="session")
def socket_labs() -> Iterator[Callable[..., SocketLab]]:
    """Give the socket programs by the constants that they are built with, built at first use."""
    with ExitStack() as stack:
        yield cache(lambda **constants: stack.enter_context(SocketLab(**constants)))


@pytest.fixture
def lab_of(datapath_of: Callable[[Family], Datapath]) -> Callable[[Family, Protocol], Lab]:
    """Give a lab without flows and affinities."""

    def make(family: Family, protocol: Protocol) -> Lab:
        datapath = datapath_of(family)
        datapath.clear()
        return Lab(datapath, protocol)

    return make


@pytest.fixture(params=Family, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """Run the test for IPv4 and for IPv6."""
    return Family(request.param)


@pytest.fixture(params=(Protocol.TCP, Protocol.UDP), ids=lambda protocol: protocol.name)
def lab(request: pytest.FixtureRequest, family: Family, lab_of: Callable[[Family, Protocol], Lab]) -> Lab:
    """Run the test for TCP and for UDP, in both families."""
    return lab_of(family, request.param)


@pytest.fixture
def tcp(family: Family, lab_of: Callable[[Family, Protocol], Lab]) -> Lab:
    """Run the test for TCP, in both families."""
    return lab_of(family, Protocol.TCP)


@pytest.fixture
def udp(family: Family, lab_of: Callable[[Family, Protocol], Lab]) -> Lab:
    """Run the test for UDP, in both families."""
    return lab_of(family, Protocol.UDP)
