from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_calibration_error

from vitrail.report import statistics
from vitrail.report.data import percent
from vitrail.report.sections.classify import SECTION, ClassifyView


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_scipys_wilson_interval(counts: tuple[int, int]) -> None:
    right, tried = counts
    theirs = binomtest(right, tried).proportion_ci(0.95, method="wilson")
    ours = statistics.wilson(right, tried)
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= ours.low <= right / tried <= ours.high <= 1


def test_nothing_tried_says_nothing() -> None:
    assert statistics.wilson(0, 0) == statistics.Interval(0.0, 1.0)


answers = st.integers(2, 7).flatmap(
    lambda many: st.tuples(
        st.just(many), st.lists(st.tuples(st.integers(0, many - 1), st.integers(0, many - 1)), min_size=1, max_size=60)
    )
)


@given(answers)
def test_confusion_and_scores_are_scikit_learns(case: tuple[int, list[tuple[int, int]]]) -> None:
    many, pairs = case
    true, said = (np.array(side) for side in zip(*pairs, strict=True))
    matrix = statistics.confusion(true, said, many)
    assert np.array_equal(matrix, confusion_matrix(true, said, labels=range(many)))
    theirs = precision_recall_fscore_support(true, said, labels=range(many), zero_division=0)
    for score, precision, recall, f1, images in zip(statistics.per_class(matrix), *theirs, strict=True):
        assert (score.precision or 0, score.recall or 0, score.f1) == pytest.approx((precision, recall, f1))
        assert (score.images, score.precision is None) == (images, score.predicted == 0)
        assert score.mistakes == (matrix[score.index, score.mistaken] if score.mistaken is not None else 0)


def test_the_worst_pairs_come_first_and_right_answers_never() -> None:
    matrix = np.array([[9, 2, 0], [5, 1, 0], [0, 2, 7]])
    pairs = [(pair.true, pair.said, pair.count, pair.images) for pair in statistics.confused_pairs(matrix, 10)]
    assert pairs == [(1, 0, 5, 6), (0, 1, 2, 11), (2, 1, 2, 9)]
    assert len(statistics.confused_pairs(matrix, 1)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_calibration_error_is_torchmetrics(seed: int) -> None:
    draw = np.random.default_rng(seed)
    odds = np.exp(draw.normal(0, 2, (400, 5)))
    probabilities = (odds / odds.sum(1, keepdims=True)).astype(np.float32)
    targets = draw.integers(0, 5, 400)
    theirs = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(targets), 5, n_bins=15)
    bins = statistics.reliability(probabilities, targets)
    assert bins.ece == pytest.approx(float(theirs), abs=1e-6)
    assert bins.count.sum() == 400
    assert np.isnan(bins.accuracy[bins.count == 0]).all()


def test_certainty_falls_into_the_last_bin_and_an_edge_into_the_bin_below() -> None:
    bins = statistics.reliability(np.array([[1.0, 0.0], [0.6, 0.4]], np.float32), np.array([0, 0]), bins=5)
    assert bins.count.tolist() == [0, 0, 1, 0, 1]


def view(probabilities: list[list[float]], targets: list[int]) -> ClassifyView:
    keys = [f"{n}.jpg" for n in range(len(targets))]
    return ClassifyView({}, np.array(probabilities, np.float32), np.array(targets), keys)


def test_the_surest_answers_are_listed_with_the_classes_taking_turns() -> None:
    made = view([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.95, 0.05], [0.51, 0.49]], [0, 0, 0, 1, 1, 1])
    assert made.surest_right(4) == [0, 3, 1, 2]
    assert made.surest_wrong(4) == [4, 5]
    assert (made.right, made.accuracy, made.majority) == (4, pytest.approx(4 / 6), 0.5)
    assert SECTION.title(["cat", "dog"], made, 4) == "cat 95.0%, but it is dog"
    assert SECTION.title(["cat", "dog"], made, 3) == "dog 60.0%"


@pytest.mark.parametrize(
    ("fraction", "words"),
    [(0, "0%"), (1, "100%"), (0.99999, "99.9%"), (0.9995, "99.9%"), (0.4567, "45.7%"), (0.0001, "0.0%")],
)
def test_percentages_never_round_up_to_certainty(fraction: float, words: str) -> None:
    assert percent(fraction) == words
