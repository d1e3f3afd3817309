"""The JSON of a run: the issue's names and shapes, and back."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ebpflb.bench.document import document, from_json, to_json
from ebpflb.bench.figures import judge
from ebpflb.bench.measure import Effort, Point, Series
from ebpflb.bench.registry import Subject
from ebpflb.bench.suite import Outcome, Part
from ebpflb.errors import UsageError
from tests.unit.bench.runs import MACHINE, MET, RUN


def test_the_document_is_what_scripts_rely_on() -> None:
    told = json.loads(to_json(RUN))
    assert list(told) == ["machine", "run", "results", "series", "peers"]
    assert told["results"][0] == {
        "id": "P1",
        "what": "TCP connect() to a ClusterIP of 10,000, of connect() to the pod",
        "value": 1.006,
        "unit": "ratio",
        "target": 1.03,
        "met": True,
        "floor": 16.5,
        "peer": 149.0,
        "spread": 0.004,
        "command": "ebpflb bench --only P1",
        "detail": {"ours_us": 16.6, "direct_us": 16.5, "iptables_nft_us": 149.0},
        "note": "",
    }
    assert (told["results"][2]["value"], told["results"][2]["met"]) == (None, False)
    assert told["series"][0]["points"]["direct"][0] == [10, 16.5, 0.2]
    assert (told["machine"]["kernel"], told["machine"]["load_before"]) == ("6.18.1", [0.5, 0.25, 0.125])
    assert told["run"]["quick"] is True


def test_what_was_written_can_be_read() -> None:
    read = from_json(to_json(RUN).encode(), "a file")
    assert (read.machine, read.run, read.peers) == (RUN.machine, RUN.run, RUN.peers)
    assert list(read.results) == list(RUN.results)
    assert [dict(series.points) for series in read.series] == [dict(series.points) for series in RUN.series]


def test_a_run_is_told_with_its_effort_and_its_time() -> None:
    subject = Subject("connect", "TCP connect()", ("P1",), 1, 2)
    outcome = Outcome(Effort(is_quick=True), (Part(subject, 1.26, (MET,)), Part(subject, 2.0, ())), is_interrupted=True)
    told = document(MACHINE, outcome, "ebpflb bench")
    assert (told.run.command, told.run.quick, told.run.seconds, told.run.interrupted) == (
        "ebpflb bench",
        True,
        3.3,
        True,
    )
    assert told.results == (MET,)


def test_numbers_that_json_has_not_are_left_out() -> None:
    result = judge("P1", 1.0, peer=math.inf, detail={"ours_ns": 1.0, "theirs_ns": math.nan})
    series = Series("a", "A", "x", "y", {"b": [Point(1, math.nan), Point(2, 3)]})
    told = json.loads(to_json(replace(RUN, results=(result,), series=(series,))))
    assert told["results"][0]["detail"] == {"ours_ns": 1.0}
    assert "peer" not in told["results"][0]
    assert told["series"][0]["points"] == {"b": [[2, 3, 0.0]]}


def test_numbers_of_numpy_are_numbers() -> None:
    point = Point(*np.array([2, 3], dtype=np.int64))
    series = Series("a", "A", "x", "y", {"b": [point]})
    told = json.loads(to_json(replace(RUN, results=(judge("P1", np.float64(1.5)),), series=(series,))))
    assert (told["results"][0]["value"], told["results"][0]["met"]) == (1.5, False)
    assert told["series"][0]["points"] == {"b": [[2, 3, 0.0]]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "a file: Input data was truncated"),
        (b"{}", "a file: Object missing required field `machine`"),
        (to_json(RUN).replace('"P1"', '"P77"').encode(), "a file: results: there is no figure P77"),
    ],
)
def test_other_files_are_refused_by_name(text: bytes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_json(text, "a file")
    assert str(caught.value).startswith(words)
