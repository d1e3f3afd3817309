"""``explain`` and the programs: the same flows of the same random clusters, the same answers.

    random_cluster(seed) --read_offline, index_of--> rows --> maps
    flow --decide--> Decision        flow --BPF_PROG_TEST_RUN at the hook that it would meet--> verdict, flow entry

The maps hold the very rows that ``explain`` reads. What the programs may do otherwise than the table of decisions says
is said in ``is_hidden``, and nowhere else.
"""

from collections import Counter as Bag
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ebpflb.cli.explain_flows import Query
from ebpflb.core.abi import BackendFlag, ConfigFlag, Counter, Family, FlowFlag, Protocol
from ebpflb.core.explain import Reason, Verdict
from ebpflb.core.explain_index import Index
from ebpflb.core.explain_snapshot import index_of
from ebpflb.core.model import format_address
from ebpflb.core.options import Options
from ebpflb.core.tables import CONFIG_KEY, Backend, Tables
from ebpflb.datapath.clock import JiffiesClock
from tests.prog.explained import Asked, Met, ask, meet, read, routes
from tests.prog.harness import SIZES, Datapath, Hook
from tests.prog.world import Namespace

pytestmark = pytest.mark.root

SEEDS = range(20)
LEAST = 1_000
"""So many packets go through each family's programs in all; more, as many flows are met at two hooks."""
_SIZES = replace(
    SIZES,
    frontends=4096,
    backends=4096,
    local_backends=4096,
    services=1024,
    slots=1 << 20,
    source_ranges=1024,
    node_addrs=64,
)
_DROPS = {
    Reason.SOURCE_RANGE: Counter.DROP_SOURCE_RANGE,
    Reason.NO_LOCAL_ENDPOINTS: Counter.DROP_NO_LOCAL_BACKEND,
    Reason.UNUSED_ADDRESS: Counter.DROP_UNUSED_ADDRESS,
}


@pytest.fixture(scope="module")
def world() -> Iterator[Callable[[Family], Datapath]]:
    """Give the programs of a family, with room for a cluster."""
    with ExitStack() as stack:
        clock = stack.enter_context(JiffiesClock())
        namespace = stack.enter_context(Namespace())
        namespace.configure(routes())
        yield cache(lambda family: stack.enter_context(Datapath(family, namespace, clock, _SIZES)))


def is_hidden(index: Index, asked: Asked, backend: Backend) -> bool:
    """Return whether a backend sees another source address, where the table says who is masqueraded.

    Three differ: the node's own packets have the node's address anyway, and only a process of its own sees another
    one; a process of the node sees its clients (hostNetwork); of several backends, the one that is the client itself.
    """
    address, is_itself = backend.key.address, backend.key.address == asked.flow.source
    is_on_node = address in index.tables.node_addrs
    if asked.hook is Hook.OUT:
        return is_on_node
    if is_itself and asked.hook is Hook.POD_IN:
        return True
    return not is_on_node and (asked.decision.masquerade or (is_itself and not asked.decision.is_direct))


def check(datapath: Datapath, index: Index, asked: Asked, met: Met) -> None:
    """Compare all that explain says with what the program did."""
    decision = asked.decision
    expected = Verdict.PASS if decision.verdict is Verdict.ACCEPT else decision.verdict
    assert met.verdict is expected, (asked.text, decision.reason, met.counts)
    if expected is Verdict.DROP:
        assert met.counts == {_DROPS[decision.reason]: 1}, asked.text
    if expected is not Verdict.FORWARD:
        return
    made = datapath.pending()[met.key]
    backend = index.tables.backends[made.backend_id]
    assert backend in decision.backends, (asked.text, backend)
    assert (made.to_daddr, made.to_dport) == (backend.key.address, backend.key.port), asked.text
    # The source of what goes to a backend elsewhere that answers itself is the outer header's.
    is_outer = bool(made.flags & FlowFlag.DSR)
    assert is_outer is (decision.is_direct and BackendFlag.LOCAL not in backend.flags), (asked.text, decision, made)
    is_inner = made.to_saddr != asked.flow.source and not is_outer
    assert is_inner is is_hidden(index, asked, backend), (asked.text, decision, made)


def behind_the_bridge(index: Index) -> list[bytes]:
    """Return the backends on this node that are in no network of its pods."""
    local = {row.key.address for row in index.tables.backends.values() if BackendFlag.LOCAL in row.flags}
    return sorted(local - index.tables.node_addrs.keys())


@contextmanager
def reached(datapath: Datapath, addresses: list[bytes]) -> Iterator[None]:
    """Have routes to addresses by a pods' device."""
    texts = [format_address(address) for address in addresses]
    datapath.namespace.configure(f"route add {text} dev pod" for text in texts)
    try:
        yield
    finally:
        datapath.namespace.configure(f"route del {text} dev pod" for text in texts)


def go_through(
    datapath: Datapath, index: Index, options: Options, queries: list[Query], rows: Tables | None = None
) -> Bag[str]:
    """Send every flow of a family through the programs; return how many were met, by verdict and hook.

    ``rows``: what the maps hold instead of what explain reads.
    """
    family = datapath.family
    datapath.clear()
    datapath.load(rows or index.tables)
    seen: Bag[str] = Bag()
    with reached(datapath, behind_the_bridge(index)):
        for number, query in enumerate(query for query in queries if query.family is family):
            asked = ask(index, options, query)
            if asked is None:
                continue
            check(datapath, index, asked, meet(datapath, asked, 20_000 + number))
            seen[f"{asked.hook} {asked.decision.verdict}"] += 1
            if asked.hook is Hook.UPLINK_IN and query.protocol is not Protocol.SCTP:
                check(datapath, index, asked, meet(datapath, asked, 25_000 + number, at_xdp=True))
                seen[f"xdp {asked.decision.verdict}"] += 1
    return seen


@pytest.mark.timeout(600)
def test_explain_tables_and_packets_agree(world: Callable[[Family], Datapath], family: Family, tmp_path: Path) -> None:
    seen: Bag[str] = Bag()
    for seed in SEEDS:
        snapshot, options, queries = read(seed, tmp_path)
        seen += go_through(world(family), index_of(snapshot, family, options).index, options, queries)
    assert seen.total() >= LEAST
    for hook in (Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT, "xdp"):
        verdicts = {verdict for verdict in Verdict if seen[f"{hook} {verdict}"]}
        assert verdicts >= {Verdict.FORWARD, Verdict.REJECT, Verdict.DROP, Verdict.PASS}, seen


@pytest.mark.parametrize("flag", [ConfigFlag.MASQUERADE_ALL, ConfigFlag.DETECT_BY_NETWORK])
def test_a_difference_is_found(
    world: Callable[[Family], Datapath], family: Family, flag: ConfigFlag, tmp_path: Path
) -> None:
    """The maps of a node that is configured otherwise."""
    found = 0
    for seed in SEEDS:
        snapshot, options, queries = read(seed, tmp_path)
        index = index_of(snapshot, family, options).index
        other = index.config._replace(flags=index.config.flags ^ flag)
        try:
            go_through(world(family), index, options, queries, replace(index.tables, config={CONFIG_KEY: other}))
        except AssertionError:
            found += 1
            break
    assert found
