"""The page and its plots: everything is there, nothing comes from elsewhere, and what is said is what is drawn."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ebpflb.bench import plots
from ebpflb.bench.captions import caption
from ebpflb.bench.measure import Point, Series
from ebpflb.bench.page import write_page
from ebpflb.bench.palette import colours
from ebpflb.bench.plots import draw
from tests.unit.bench.runs import LATENCY, MACHINE, PROGRAMMING, RATES, RUN

VOID = {"meta", "img"}


class Balanced(HTMLParser):
    """Notes the elements that are open, and sources."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_everything_and_needs_nothing(tmp_path: Path) -> None:
    index = write_page(RUN, tmp_path)
    text = index.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.sources) == len(RUN.series)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parser.sources)
    assert "http://" not in text
    assert "https://" not in text
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", *(f"{each.id}.svg" for each in RUN.series)}
    for words in (
        "<h1>ebpflb bench: 1 of 3 targets reached, 1 missed, 1 not measured</h1>",
        "P10: not measured: there is no nft",
        "P6: 0.810x, target &gt;= 0.85",
        "among &amp; &lt;others&gt;",
        "Some &lt;processor&gt;, 2 cores",
        "this kernel has none",
        "no route",
        "ebpflb bench --only P6",
        "iptables nft 149 us",
        caption(LATENCY),
    ):
        assert words in text, words


def test_the_verdict_stands_first(tmp_path: Path) -> None:
    text = write_page(replace(RUN, results=RUN.results[:1], series=()), tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"<h\d>(.*?)</h\d>", text)[:2] == ["ebpflb bench: 1 of 1 targets reached", "Figures"]
    assert "<h2>Curves</h2>" not in text
    assert '<li class="missed">' not in text


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    told = replace(RUN, run=replace(RUN.run, interrupted=True), series=())
    assert "interrupted before its end" in write_page(told, tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "series",
    [
        LATENCY,
        RATES,
        PROGRAMMING,
        replace(PROGRAMMING, is_log_y=True),
        Series("empty", "Empty", "x", "y", {}),
        Series("hollow", "Hollow", "x", "y", {"a": []}, is_log_x=True, is_log_y=True),
        Series("zero", "Zero", "x", "y", {"a": [Point(0, 0), Point(1, 5)]}, is_log_x=True, is_log_y=True),
    ],
    ids=["curves", "lying bars", "groups of bars", "labels and powers", "empty", "hollow", "zero"],
)
def test_every_kind_of_series_can_be_drawn_twice_alike(series: Series) -> None:
    picture = draw(series)
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert draw(series) == picture
    assert "<image" not in picture


def test_a_contender_has_its_own_colour_and_the_same_in_every_plot() -> None:
    names = [
        "direct",
        "iptables-legacy",
        "iptables-nft",
        "nftables",
        "ipvs",
        "ebpflb socket",
        "ebpflb tc",
        "ebpflb XDP",
    ]
    all_of_them = colours(names)
    assert len(set(all_of_them.values())) == len(names)
    assert colours(["nftables"])["nftables"] == all_of_them["nftables"]
    assert len(set(colours(["local", "remote", "stack"]).values())) == 3


def test_a_caption_says_what_the_points_say() -> None:
    assert caption(replace(LATENCY, points={name: LATENCY.points[name] for name in ("direct", "iptables-nft")})) == (
        "us, median, at 10,000 Services: direct 16.5, iptables-nft 149 (9.03x). "
        "From the left end to the right: direct 1.00x, iptables-nft 7.20x. "
        "Whiskers are half the distance between the quartiles of the rounds."
    )
    assert caption(PROGRAMMING) == (
        "s, 1,000: ebpflb 0.0400, nftables 0.300 (7.50x). 10,000: ebpflb 0.300, nftables 19.0 (63.3x)."
    )
    assert caption(replace(RATES, points={"a": [Point(0, 1.0), Point(2, 3.0)]})) == (
        "Mpps, iptables-legacy 1.00, ebpflb XDP 3.00 (3.00x)."
    )
    by_way = {"tc": [Point(0, 1.0), Point(1, 2.0)], "XDP": [Point(2, 3.0)], "none": []}
    assert caption(replace(RATES, points=by_way)) == (
        "Mpps, tc: iptables-legacy 1.00, ebpflb tc 2.00 (2.00x). XDP: ebpflb XDP 3.00."
    )
    assert caption(Series("hollow", "Hollow", "x", "y", {"a": []})) == "Nothing could be measured."


@pytest.mark.parametrize(
    ("ours", "theirs", "where"),
    [
        ((10, 100), {"a": (10,), "b": (10, 100)}, 100),
        ((10, 100), {"a": (10,), "b": (10,), "c": (10,)}, 10),
        ((10, 1_000), {"a": (10, 100), "b": (100,)}, 10),
        ((10, 1_000), {}, 1_000),
    ],
)
def test_contenders_are_compared_where_ours_and_enough_of_the_others_are(
    ours: tuple[int, ...], theirs: dict[str, tuple[int, ...]], where: int
) -> None:
    points = {name: [Point(x, 1.0) for x in places] for name, places in {"ebpflb": ours, **theirs}.items()}
    assert caption(Series("a", "A", "Services", "us", points)).startswith(f"us, at {where:,} Services: ")


def test_whiskers_stay_above_zero_and_do_not_dwarf_what_they_stand_on() -> None:
    noisy = replace(RATES, points={"a": [Point(0, 2.0, 0.5), Point(1, 3.0, 400.0)]})
    assert plots._reach(noisy) == pytest.approx((0.0, 3.0 * 1.5 * 1.05))
    assert plots._spreads(noisy.points["a"]) == [[0.5, 3.0], [0.5, 400.0]]
    assert plots._spreads([Point(0, 2.0)]) is None


def test_the_machine_is_on_the_page_with_its_mitigations(tmp_path: Path) -> None:
    text = write_page(replace(RUN, series=()), tmp_path).read_text(encoding="utf-8")
    assert all(words in text for words in MACHINE.mitigations.values())
