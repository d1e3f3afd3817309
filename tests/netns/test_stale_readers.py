"""A backend vanishes without a word while clients wait for its answer: they get an error as soon as it is known.

pitfalls 7.1: connected UDP clients of a deleted backend time out for ever, and TCP ones that wait do, too. Wherever
the socket lives on the node, whatever holds its network namespace, and in both protocols of one port.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ebpflb.core.abi import Family
from tests.netns.life_helpers import SOON_S, until
from tests.netns.stale.hideouts import WAYS, hideout
from tests.netns.stale.world import CLUSTER_IPS, KINDS, Reader, StaleWorld, stale_world, vanish

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("destroys_sockets")]

log = logging.getLogger(__name__)

DIALLED = {
    "IPv4": CLUSTER_IPS[Family.IPV4],
    "IPv6": CLUSTER_IPS[Family.IPV6],
    "v4-mapped": f"::ffff:{CLUSTER_IPS[Family.IPV4]}",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaleWorld]:
    with stale_world(tmp_path_factory.mktemp("manifests")) as built:
        yield built


@pytest.fixture(scope="module")
def hidden(world: StaleWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A namespace for each way to hold one."""
    folder = tmp_path_factory.mktemp("netns")
    with ExitStack() as stack:
        yield {way: stack.enter_context(hideout(way, world.node, number, folder)) for number, way in enumerate(WAYS)}


def start_readers(world: StaleWorld, hidden: dict[str, Path], host: str) -> dict[tuple[str, str], Reader]:
    readers = {}
    for kind in KINDS:
        readers["pod", kind] = world.reader(world.lab.pod(1, 1), kind, host)
        readers["host", kind] = world.reader(world.node, kind, host)
        for way, path in hidden.items():
            readers[way, kind] = world.reader(world.node, kind, host, path)
    return readers


@pytest.mark.parametrize("dialled", DIALLED)
def test_every_reader_learns_that_its_backend_is_gone(world: StaleWorld, hidden: dict[str, Path], dialled: str) -> None:
    victim = world.victim()
    world.write(victim)
    until(lambda: world.leads_to(victim))
    readers = start_readers(world, hidden, DIALLED[dialled])
    assert {reader.backend() for reader in readers.values()} == {victim.name}
    vanish(victim)
    gone_at = world.write()
    endings = {who: reader.ending(SOON_S) for who, reader in readers.items()}
    assert {error for error, _ in endings.values()} == {"ECONNABORTED"}
    for (place, kind), (_, ended_at) in endings.items():
        log.info("dialled=%s kind=%s place=%s seconds=%.3f", dialled, kind, place, ended_at - gone_at)
