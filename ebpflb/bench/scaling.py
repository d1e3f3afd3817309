"""What a node and a cluster need: ``python -m ebpflb.bench.scaling``; with ``--measure`` from points measured here.

    points (recorded, or measured; --record keeps them) --scaling_model.py--> tables on stdout, with the model's error

Decides what is asked and how the answer is printed. docs/scaling.md explains it.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ebpflb.bench.scaling_model import Cluster, Costs, Needs, Point, errors, fitted, needs_of
from ebpflb.bench.scaling_points import CHECKS, SCALES, measure_points, wire
from ebpflb.bench.scaling_record import recorded, rounded, updated
from ebpflb.bench.scaling_recorded import CHECKED, FITTED
from ebpflb.errors import EbpflbError, UsageError

_MB: Final = 1e6
_INTERRUPTED: Final = 130
NODES: Final = (100, 1_000, 5_000)
RECORD: Final = Path(__file__).with_name("scaling_recorded.py")


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables; return an exit code."""
    arguments = _parser().parse_args(words)
    try:
        cluster = _cluster(arguments)
        points = _measured() if arguments.measure else (FITTED, CHECKED)
    except EbpflbError as error:
        sys.stderr.write(f"scaling: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("scaling: interrupted; everything was removed\n")
        return _INTERRUPTED
    costs = fitted(points[0], wire())
    report = list(_report(points, costs, cluster, arguments.nodes or NODES))
    sys.stdout.writelines(f"{line}\n" for line in report)
    return _keep(points, report, arguments.record) if arguments.record else 0


def _keep(points: tuple[Sequence[Point], Sequence[Point]], report: Sequence[str], page: Path) -> int:
    """Write the points into the repository and the report into a page; return an exit code."""
    try:
        text = updated(page.read_text(encoding="utf-8"), report)
        RECORD.write_text(recorded(*points), encoding="utf-8")
        page.write_text(text, encoding="utf-8")
    except UsageError as error:
        sys.stderr.write(f"scaling: {page}: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"scaling: {error.filename}: {error.strerror}\n")
        return 1
    return 0


def _report(
    points: tuple[Sequence[Point], Sequence[Point]], costs: Costs, cluster: Cluster, nodes: Iterable[int]
) -> Iterator[str]:
    fit, checks = points
    yield from _points(fit, checks)
    yield ""
    yield from _costs(costs)
    yield ""
    yield from _errors(costs, fit, checks)
    yield ""
    yield from _needs(costs, cluster, nodes)


def _points(fit: Sequence[Point], checks: Sequence[Point]) -> Iterator[str]:
    yield "| measured | Services | endpoints | RSS MB | CPU s | start s | maps MB | change ms | burst ms |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for kind, rows in (("fitted", fit), ("checked", checks)):
        for each in rows:
            size = f"{kind} | {each.services:,} | {each.endpoints:,} | {each.resident_bytes / _MB:.1f}"
            start = f"{each.start_cpu_s:.2f} | {each.start_s:.2f} | {each.map_bytes / _MB:.2f}"
            yield f"| {size} | {start} | {each.change_s * 1e3:.2f} | {each.burst_event_s * 1e3:.3f} |"


def _costs(costs: Costs) -> Iterator[str]:
    yield "| cost | fixed | a Service | an endpoint |"
    yield "|---|---|---|---|"
    fixed, service, endpoint = costs.resident_bytes
    yield f"| agent, resident | {fixed / _MB:.1f} MB | {service:.0f} bytes | {endpoint:.0f} bytes |"
    for name, plane in (("start, CPU", costs.start_cpu_s), ("start, until ready", costs.start_s)):
        yield f"| {name} | {plane[0]:.2f} s | {plane[1] * 1e6:.0f} us | {plane[2] * 1e6:.0f} us |"
    sent = costs.wire
    yield f"| JSON in a watch | | {sent.service + sent.slice:.0f} bytes | {sent.endpoint:.0f} bytes |"
    yield f"| a change, CPU | {costs.change_cpu_s * 1e3:.2f} ms | | |"
    yield f"| a change, from event to map | {costs.change_s * 1e3:.2f} ms | | |"
    yield f"| an event among many | {costs.burst_event_s * 1e3:.3f} ms | | |"


def _errors(costs: Costs, fit: Sequence[Point], checks: Sequence[Point]) -> Iterator[str]:
    """Yield the largest error of each quantity: at the points of the fit, and at those that it has not seen."""
    inside, outside = ([errors(costs, each) for each in points] for points in (fit, checks))
    yield "| model's error | at fitted points | at others |"
    yield "|---|---|---|"
    for name in inside[0]:
        worst = [max((each[name] for each in group), key=abs) for group in (inside, outside)]
        yield f"| {name} | {worst[0]:+.1%} | {worst[1]:+.1%} |"


def _needs(costs: Costs, cluster: Cluster, nodes: Iterable[int]) -> Iterator[str]:
    rows = [(count, needs_of(costs, replace(cluster, nodes=count))) for count in nodes]
    yield (
        f"{cluster.services:,} Services ({cluster.load_balancers:,} of type LoadBalancer),"
        f" {cluster.endpoints:,} endpoints, of which one lives {cluster.pod_days:g} days and makes"
        f" {cluster.events_a_pod:g} events; a rollout exchanges {cluster.rollout:.1%} of them at once"
    )
    yield ""
    yield f"| | {' | '.join(f'{count:,} nodes' for count, _ in rows)} |"
    yield "|---|" + "---|" * len(rows)
    for name, texts in _lines([needs for _, needs in rows]):
        yield f"| {name} | {' | '.join(texts)} |"
    flags = " ".join(f"--map-size {name}={size}" for name, size in rows[0][1].sizes.items())
    yield ""
    yield f"Map sizes: `{flags}`" if flags else "Map sizes: the defaults"


def _lines(needs: Sequence[Needs]) -> Iterator[tuple[str, list[str]]]:
    yield "agent, resident memory", [f"{each.resident_bytes / _MB:,.0f} MB" for each in needs]
    yield "maps of Services, a family", [f"{each.map_bytes / _MB:,.0f} MB" for each in needs]
    yield "a start, CPU time", [f"{each.start_cpu_s:,.1f} s" for each in needs]
    yield "read at a start", [f"{each.list_bytes / _MB:,.0f} MB" for each in needs]
    yield "events a second, a node", [f"{each.events_s:,.1f}" for each in needs]
    yield "watch, a node", [f"{each.node_bytes_s / 1e3:,.0f} kB/s" for each in needs]
    yield "watch, all nodes", [f"{each.cluster_bytes_s / _MB:,.1f} MB/s" for each in needs]
    yield "CPU of churn, a node", [f"{each.cpu:.1%} of a core" for each in needs]
    yield "a rollout, until in a node's maps", [f"{each.converge_s:,.2f} s" for each in needs]
    yield "a rollout, sent to all nodes", [f"{each.rollout_bytes / 1e9:,.1f} GB" for each in needs]


def _cluster(arguments: argparse.Namespace) -> Cluster:
    return Cluster(
        nodes=0,
        services=arguments.services,
        endpoints=arguments.endpoints,
        load_balancers=arguments.load_balancers,
        pod_days=arguments.pod_days,
        rollout=arguments.rollout,
    )


def _measured() -> tuple[list[Point], list[Point]]:
    points = [rounded(each) for each in measure_points((*SCALES, *CHECKS), _say)]
    return points[: len(SCALES)], points[len(SCALES) :]


def _say(line: str) -> None:
    sys.stderr.write(f"scaling: {line}\n")
    sys.stderr.flush()


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ebpflb.bench.scaling", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the points here, as root: a minute")
    parser.add_argument(
        "--record", type=Path, metavar="PAGE", help="keep the points in this repository, and the tables in its page"
    )
    parser.add_argument("--nodes", type=_count, action="append", help="may be repeated (default 100, 1,000, 5,000)")
    parser.add_argument("--services", type=_count, default=100_000, help="(default %(default)s)")
    parser.add_argument("--endpoints", type=_count, default=1_000_000, help="of all Services (default %(default)s)")
    parser.add_argument("--load-balancers", type=int, default=1_000, help="of the Services (default %(default)s)")
    parser.add_argument("--pod-days", type=float, default=1.0, help="an endpoint's life (default %(default)s)")
    parser.add_argument("--rollout", type=float, default=0.01, help="part exchanged at once (default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
