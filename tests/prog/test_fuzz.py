"""Mutated packets through the programs and through the reference: the same verdict, the same bytes, the same rows.

A short run with a fixed seed; ``python -m tests.fuzz.run`` is the long one.
"""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Family
from tests.fuzz.campaign import Campaign
from tests.fuzz.kernel import Programs, link_addresses
from tests.fuzz.rows import Hook
from tests.fuzz.run import Order, fuzz
from tests.fuzz.seeds import seeds_of
from tests.fuzz.worlds import world_of
from tests.prog.world import Namespace

pytestmark = pytest.mark.root

PACKETS = 20_000


def test_programs_and_reference_agree(family: Family) -> None:
    results = list(fuzz(family, Order(packets=PACKETS, seed=20)))
    assert [str(found) for result in results for found in result.mismatches] == []
    assert {result.program.split(",")[0] for result in results} == {f"{hook}{family.value}" for hook in Hook}


def test_a_difference_is_found_and_can_be_seen_again(family: Family) -> None:
    """The reference does not know the node's address."""
    with Namespace() as namespace, namespace.entered():
        world, conversations = world_of(family, link_addresses())
        seeds = seeds_of(family, conversations)
        wrong = replace(world, node_addrs={})
        with Programs(world) as programs:
            Campaign(world, programs, Hook.UPLINK_IN, seeds, "right").install()
            mistaken = Campaign(wrong, programs, Hook.UPLINK_IN, seeds, "wrong")
            mistaken.install()
            found = mistaken.run(PACKETS)
            assert found is not None
            assert found.frame.hex() in str(found)
            mistaken.install()
            assert mistaken.check(found.seed, found.frame) is not None
