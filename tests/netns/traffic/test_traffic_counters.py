"""Each verdict shows in `ebpflb dump-maps counters`, on the node that gave it."""

import json

import pytest

from tests.netns.traffic.callers import ANSWER_SECONDS
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

CALLS = [
    ("covered", "remote", "ClusterIP", {"sock_translated", "sock_restored"}),
    ("covered", "nobody", "ClusterIP", {"sock_rejected"}),
    ("outside", "local", "NodePort of node-1", {"forwarded", "flow_created"}),
    ("outside", "local-here", "NodePort of node-1", {"delivered", "reply_restored", "flow_created"}),
    ("outside", "remote", "NodePort of node-1", {"forwarded", "flow_created"}),
    ("uncovered", "remote", "ClusterIP", {"delivered", "reply_restored", "flow_created"}),
    ("uncovered", "self-uncovered", "ClusterIP", {"hairpinned", "flow_created"}),
    ("uncovered", "nobody", "ClusterIP", {"rejected"}),
    ("outside", "local-elsewhere", "NodePort of node-1", {"drop_no_local_backend"}),
]
TRAFFIC = {
    *("sock_translated", "sock_restored", "sock_rejected", "delivered", "forwarded", "hairpinned"),
    *("reply_restored", "flow_created", "rejected", "drop_no_local_backend"),
}


def counters(world: World) -> dict[str, int]:
    """Return node-1's counters of Service traffic, as the command prints them."""
    printed = json.loads(world.agents[1].command("dump-maps", "counters", "-o", "json"))
    rows = printed["families"][f"ipv{world.family.value}"]["counters"]
    return {row["counter"]: row["value"] for row in rows if row["counter"] in TRAFFIC}


@pytest.mark.parametrize(("caller", "service", "destination", "expected"), CALLS)
def test_a_call_raises_the_counters_of_its_verdicts_and_no_others(
    routed: World, caller: str, service: str, destination: str, expected: set[str]
) -> None:
    call = routed.caller(caller)
    before = counters(routed)
    timeout = SILENCE if "drop_no_local_backend" in expected else ANSWER_SECONDS
    call.ask("tcp", routed.target(routed.specs[service], destination, "tcp"), timeout=timeout)
    after = counters(routed)
    assert {name for name in TRAFFIC if after[name] > before[name]} == expected
