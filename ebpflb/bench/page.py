"""Writes a run as one HTML page that needs nothing else, and its plots as files beside it.

Decides what stands on the page and in which order: the verdict first. The look is ``page_style.py``'s, the pictures
``plots.py``'s, the words of a value ``wording.py``'s.

    Document --write_page--> DIR/index.html, DIR/<series>.svg
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from ebpflb.bench.captions import caption
from ebpflb.bench.document import Document
from ebpflb.bench.figures import Result
from ebpflb.bench.measure import Series
from ebpflb.bench.page_style import PAGE
from ebpflb.bench.plots import draw
from ebpflb.bench.wording import (
    HEADERS,
    Verdict,
    cells,
    machine_rows,
    number,
    plain,
    split_name,
    summary,
    target_text,
    value_text,
    verdict,
    with_unit,
)

_CLASSES: Final = {Verdict.MET: "met", Verdict.MISSED: "missed", Verdict.UNMEASURED: "unmeasured"}


def write_page(told: Document, folder: Path) -> Path:
    """Write the page and its plots into a folder that is there; return the page's path."""
    pictures = {series.id: draw(series) for series in told.series}
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
    index = folder / "index.html"
    index.write_text(page(told, pictures), encoding="utf-8")
    return index


def page(told: Document, pictures: Mapping[str, str]) -> str:
    """Return the page's text; ``pictures`` are SVG texts by the ids of their series."""
    body = [
        *_verdict(told),
        *_table(told.results),
        *_plots(told.series, pictures),
        *_notes(told),
        *_machine(told),
        *_reproduce(told),
    ]
    return PAGE.substitute(title="ebpflb bench", body="\n".join(body))


def _verdict(told: Document) -> Iterator[str]:
    reached = all(result.met for result in told.results)
    effort = "a quick run: fewer and smaller rounds" if told.run.quick else "a whole run"
    yield f"<h1>ebpflb bench: {escape(summary(told.results))}</h1>"
    yield f"<p>{escape(told.machine.date)}, {effort}, {told.run.seconds:.0f} s. Every figure is a ratio taken in"
    yield "this run against a peer or a floor that took turns with ours, unless its unit says otherwise.</p>"
    if told.run.interrupted:
        yield '<p class="missed">The run was interrupted before its end.</p>'
    if not reached:
        yield "<ul>"
        for result in told.results:
            if not result.met:
                yield f'<li class="{_CLASSES[verdict(result)]}">{escape(_shortfall(result))}</li>'
        yield "</ul>"


def _shortfall(result: Result) -> str:
    if result.value is None:
        return f"{result.id}: not measured: {result.note}"
    return f"{result.id}: {value_text(result)}, target {target_text(result)}: {result.what}"


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield "<h2>Figures</h2>"
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{escape(header)}</th>" for header in HEADERS)
    yield "</tr></thead><tbody>"
    for result in results:
        columns = "".join(f"<td>{escape(cell)}</td>" for cell in cells(result))
        yield f'<tr class="{_CLASSES[verdict(result)]}">{columns}</tr>'
    yield "</tbody></table></div>"
    yield "<p>Spread: half the distance between the quartiles of the rounds. Floor: what nobody can beat here. Peer:"
    yield "what it was compared with.</p>"
    yield "<details><summary>The values behind each figure</summary><dl>"
    for result in results:
        if result.detail:
            yield f"<dt>{result.id}</dt><dd>{escape(_behind(result))}</dd>"
    yield "</dl></details>"


def _behind(result: Result) -> str:
    said = []
    for name, value in result.detail.items():
        words, unit = split_name(name)
        said.append(f"{words} {with_unit(number(value), unit) if unit else number(value)}")
    return ", ".join(said)


def _plots(all_series: Sequence[Series], pictures: Mapping[str, str]) -> Iterator[str]:
    if all_series:
        yield "<h2>Curves</h2>"
    for series in all_series:
        encoded = b64encode(pictures[series.id].encode()).decode()
        words = escape(caption(series))
        yield f'<figure><img src="data:image/svg+xml;base64,{encoded}" alt="{escape(series.title)}. {words}">'
        yield f"<figcaption>{words}</figcaption>"
        yield from _points(series)
        yield "</figure>"


def _points(series: Series) -> Iterator[str]:
    yield f"<details><summary>Values</summary><table><thead><tr><th></th><th>{escape(series.x)}</th>"
    yield f"<th>{escape(series.y)}</th><th>spread</th></tr></thead><tbody>"
    for name, points in series.points.items():
        for point in points:
            x = series.labels[int(point.x)] if series.labels else plain(point.x)
            row = (name, x, number(point.y, 4), number(point.spread, 2))
            yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></details>"


def _notes(told: Document) -> Iterator[str]:
    notes = {result.id: result.note for result in told.results if result.note} | dict(told.run.failures)
    yield from _pairs("Notes", notes)
    yield from _pairs("Peers", told.peers)


def _machine(told: Document) -> Iterator[str]:
    yield from _pairs("Machine", dict(machine_rows(told.machine)))


def _pairs(title: str, said: Mapping[str, str]) -> Iterator[str]:
    if said:
        yield f"<h2>{title}</h2><dl>"
        yield from (f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in said.items())
        yield "</dl>"


def _reproduce(told: Document) -> Iterator[str]:
    commands = dict.fromkeys([told.run.command, *(result.command for result in told.results)])
    yield "<h2>Measure again</h2>"
    yield "<p>As root, with the machine doing nothing else: the whole run, then each figure alone.</p>"
    yield f"<pre>{escape(chr(10).join(commands))}</pre>"
