"""Where the metrics that are read when asked for find their values in the facts of a scrape.

Decides what belongs to which metric; names and types are ``metrics_scrape``'s. Knows facts only.

    Facts --samples--> (values of labels, value) ...
"""

from collections import Counter as Bag
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ebpflb.core.abi import Counter, Family
from ebpflb.host.metrics_facts import Facts, FamilyFacts
from ebpflb.reconcile.ports import Kind
from ebpflb.reconcile.status import FamilyStatus, Status, Usage

Sample = tuple[tuple[str, ...], float]
"""Values of labels, and the value."""
Read = Callable[[Facts], Iterator[Sample]]

VERDICTS: Final = frozenset(
    {
        Counter.SOCK_TRANSLATED,
        Counter.SOCK_PASSED,
        Counter.SOCK_REJECTED,
        Counter.SOCK_OPTED_OUT,
        Counter.BIND_REFUSED,
        Counter.PASSED,
        Counter.PASSED_FRAGMENT,
        Counter.DELIVERED,
        Counter.FORWARDED,
        Counter.HAIRPINNED,
        Counter.REPLY_RESTORED,
        Counter.REJECTED,
        Counter.REJECTED_PORT,
    }
)
"""What became of a packet or of a socket's call. Drops have a metric of their own, all else happened on the way."""
_DROP: Final = "DROP_"


def ip_family(family: Family) -> str:
    """Return the label that kube-proxy gives a family."""
    return f"IPv{family.value}"


# -- ways to read ------------------------------------------------------------------------------------------------------


def in_status(values: Callable[[Status], Iterable[Sample]]) -> Read:
    """Return samples of the status; before there is one, none."""

    def samples(facts: Facts) -> Iterator[Sample]:
        if facts.status is not None:
            yield from values(facts.status)

    return samples


def one(value: Callable[[Status], float]) -> Read:
    """Return the one sample of a metric without labels."""
    return in_status(lambda status: [((), value(status))])


def in_each(values: Callable[[FamilyStatus], Iterable[Sample]]) -> Read:
    """Return samples of each family's status, its label first."""

    def samples(status: Status) -> Iterator[Sample]:
        for each in status.families:
            for labels, value in values(each):
                yield (ip_family(Family(each.family)), *labels), value

    return in_status(samples)


def in_maps(values: Callable[[FamilyFacts], Iterable[Sample]]) -> Read:
    """Return samples of what each family's maps say, its label first."""

    def samples(facts: Facts) -> Iterator[Sample]:
        for family, found in facts.families.items():
            for labels, value in values(found):
                yield (ip_family(family), *labels), value

    return samples


# -- the agent ---------------------------------------------------------------------------------------------------------


def version(facts: Facts) -> Iterator[Sample]:
    """Return 1 for the version."""
    yield (facts.version,), 1.0


def queued(facts: Facts) -> Iterator[Sample]:
    """Return when a change last came: every one is for all families, until it is looked at."""
    yield from (((ip_family(family),), facts.queued_s) for family in facts.families)


def load(found: FamilyFacts) -> Iterator[Sample]:
    """Return the seconds until the programs were in the kernel."""
    yield ("compiled" if found.is_compiled else "adopted",), found.load_seconds


def objects(status: Status) -> Iterator[Sample]:
    """Return how many objects of each kind there are."""
    yield from (((kind,), count) for kind, count in status.objects.items())


def refused(status: Status) -> Iterator[Sample]:
    """Return how many objects of each kind are refused, each once, by whomever."""
    names = {each.object for each in status.refused}
    names |= {each.object for family in status.families for each in family.refused}
    kinds = Bag({kind.value: 0 for kind in Kind})
    kinds.update(name.partition(" ")[0] for name in names)
    yield from (((kind,), count) for kind, count in kinds.items())


def pending(facts: Facts) -> Iterator[Sample]:
    """Return for how long the oldest change has waited."""
    if facts.status is not None:
        since = facts.status.pending_since
        yield (), 0.0 if since is None else max(0.0, facts.now_s - since.timestamp())


# -- the node ----------------------------------------------------------------------------------------------------------


def devices(status: Status) -> Iterator[Sample]:
    """Return how many devices have the programs of each role."""
    roles: Bag[str] = Bag()
    for hooks in status.node.devices:
        roles[hooks.role] += len(hooks.devices)
    yield from (((role,), count) for role, count in roles.items())


def failed_devices(status: Status) -> Iterator[Sample]:
    """Return how many devices of each role do not take their programs."""
    roles = Bag({hooks.role: 0 for hooks in status.node.devices})
    roles.update(failed.role for failed in status.node.failed)
    yield from (((role,), count) for role, count in roles.items())


def xdp(status: Status) -> Iterator[Sample]:
    """Return how many uplinks XDP serves in which mode."""
    modes = Bag(device.mode or "none" for device in status.node.xdp)
    yield from (((mode,), count) for mode, count in modes.items())


def health_ports(status: Status) -> Iterator[Sample]:
    """Return how many health check ports are open, and how many are not."""
    failed = sum(bool(port.error) for port in status.node.health_ports)
    yield ("listening",), len(status.node.health_ports) - failed
    yield ("failed",), failed


# -- maps --------------------------------------------------------------------------------------------------------------


def service_ports(each: FamilyStatus) -> Iterator[Sample]:
    """Return how many ports of Services are programmed."""
    yield (), each.service_ports


def maps(value: Callable[[Usage], int]) -> Read:
    """Return a value of every map: of those written by rows from the status, of flow maps from the last sweep."""
    written = in_each(lambda each: [((name,), value(usage)) for name, usage in each.maps.items()])
    swept = in_maps(lambda found: [((name,), value(usage)) for name, usage in found.flow_maps.items()])

    def samples(facts: Facts) -> Iterator[Sample]:
        yield from written(facts)
        yield from swept(facts)

    return samples


def failed_rows(each: FamilyStatus) -> Iterator[Sample]:
    """Return how many rows of each map are tried again."""
    rows = Bag(row.table for row in each.failed_rows)
    yield from (((name,), rows[name]) for name in each.maps)


def without_local(found: FamilyFacts) -> Iterator[Sample]:
    """Return how many service ports miss local backends, by the policy that asks for them."""
    yield ("internal",), found.without_local.internal
    yield ("external",), found.without_local.external


def flows(found: FamilyFacts) -> Iterator[Sample]:
    """Return how many flows are in which state."""
    yield from (((state,), count) for state, count in found.flows.items())


def unreadable(found: FamilyFacts) -> Iterator[Sample]:
    """Return 1 for each map that could not be read."""
    yield from (((name,), 1.0) for name in found.unreadable)


def is_drop(counter: Counter) -> bool:
    """Return whether a counter counts dropped packets."""
    return counter.name.startswith(_DROP)


def counted(is_wanted: Callable[[Counter], bool]) -> Read:
    """Return the programs' counters of one sort."""

    def samples(found: FamilyFacts) -> Iterator[Sample]:
        for counter, count in found.counters.items():
            if is_wanted(counter):
                yield (counter.name.removeprefix(_DROP).lower(),), count

    return in_maps(samples)
