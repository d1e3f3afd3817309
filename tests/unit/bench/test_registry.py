"""Every figure has one measure, and every measure of the table is there."""

from collections import Counter

import pytest

from ebpflb.bench.figures import FIGURES, select
from ebpflb.bench.measure import Effort
from ebpflb.bench.registry import SUBJECTS, Subject, load, subjects_for

QUICK_SECONDS = 180


def test_every_figure_is_measured_by_exactly_one_subject() -> None:
    claimed = Counter(figure for subject in SUBJECTS for figure in subject.figures)
    assert claimed == Counter(figure.id for figure in FIGURES)


def test_a_choice_runs_what_measures_it_and_nothing_else() -> None:
    assert [subject.module for subject in subjects_for(select("P9"))] == ["programs", "frames"]
    assert [subject.module for subject in subjects_for(select("p14,P2"))] == ["udp_connect", "maglev"]
    assert subjects_for(None) == SUBJECTS
    assert any(not subject.figures for subject in SUBJECTS)


def test_a_quick_run_is_quick() -> None:
    assert sum(subject.seconds(Effort(is_quick=True)) for subject in SUBJECTS) <= QUICK_SECONDS
    assert all(subject.seconds(Effort()) >= subject.quick_s for subject in SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.module)
def test_every_measure_is_there(subject: Subject) -> None:
    assert callable(load(subject))
