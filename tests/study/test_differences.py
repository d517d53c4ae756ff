"""Verdicts on models: right ones at the stated rate, many pairs included, and none where none can be given."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import outcomes

from vitrail.study.statistics.differences import compare, simultaneous, verdict
from vitrail.study.statistics.folds import of_folds
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import of_means
from vitrail.study.statistics.needed import needed


def test_equal_models_are_seldom_told_apart_however_many_pairs_there_are() -> None:
    rng = np.random.default_rng(0)
    studies, alone, together = 120, 0, 0
    for _ in range(studies):
        found = compare(of_means(outcomes(rng, [0.75] * 5, 3, 100, 0.15), resamples=300), minimal=0.0)
        alone += any(not pair.alone.holds(0) for pair in found)
        together += any(pair.verdict != "cannot tell" for pair in found)
    assert together / studies <= 0.09  # 5 % stated; 9 % is what 120 studies of 5 % exceed once in 30
    assert alone > together + 0.04 * studies  # the control: ten pairs, each at 5 %


def test_a_better_model_is_found_on_the_same_images() -> None:
    rng = np.random.default_rng(1)
    found = [
        compare(of_means(outcomes(rng, [0.85, 0.70], 3, 400, 0.05), resamples=300), 0.01)[0].verdict for _ in range(30)
    ]
    assert found.count("better") >= 28
    assert "worse" not in found


def test_folds_of_equal_models_are_seldom_told_apart() -> None:
    """Splits that share most of their training images are correlated by about test / (test + train)."""
    rng = np.random.default_rng(2)
    wrong, naive, studies = 0, 0, 400
    for _ in range(studies):
        common = rng.normal(size=(2, 1, 1)) * np.sqrt(0.2)
        a, b = common + rng.normal(size=(2, 2, 5)) * np.sqrt(0.8)
        (pair,) = compare(of_folds({"a": a, "b": b}, 5, 100, resamples=400), 0.0)
        wrong += pair.verdict != "cannot tell"
        naive += abs((a - b).mean()) > 2.262 * (a - b).std(ddof=1) / np.sqrt(10)
    assert wrong / studies <= 0.08
    assert naive / studies > 0.15


def test_no_difference_is_larger_than_scores_can_be_apart() -> None:
    joint = of_folds({"a": np.array([[0.1, 0.9]]), "b": np.array([[0.9, 0.2]])}, 2, 24)
    (wide,) = compare(joint, 0.01)
    assert wide.together.low < -1
    (held,) = compare(replace(joint, limits=(0.0, 1.0)), 0.01)
    assert (held.together.low, held.together.high, held.alone.low) == (-1, 1, -1)
    assert held.together.value == wide.together.value


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.02, 0.05, "better"),
        (-0.05, -0.02, "worse"),
        (-0.009, 0.008, "equal"),
        (0.005, 0.05, "cannot tell"),
        (-0.05, 0.05, "cannot tell"),
        (math.nan, math.nan, "cannot tell"),
    ],
)
def test_a_verdict_needs_an_interval_clear_of_the_least_difference(low: float, high: float, said: str) -> None:
    difference = Interval((low + high) / 2, low, high)
    assert verdict(difference, 0.01, seeds=3) == said
    assert verdict(difference, 0.01, seeds=1) == "cannot tell"


def test_nothing_is_equal_without_a_least_difference() -> None:
    assert verdict(Interval(0.0, 0.0, 0.0), 0.0, 3) == "cannot tell"


def test_models_compared_with_one_reference_have_narrower_intervals_than_all_pairs() -> None:
    joint = of_means(outcomes(np.random.default_rng(4), [0.7, 0.75, 0.8, 0.8], 3, 200))
    pairs, one = compare(joint, 0.01), compare(joint, 0.01, against="m3")
    assert [(c.first, c.second) for c in one] == [("m0", "m3"), ("m1", "m3"), ("m2", "m3")]
    matching = next(c for c in pairs if (c.first, c.second) == ("m0", "m3"))
    assert one[0].alone.half < one[0].together.half < matching.together.half
    assert compare(joint.select(["m0"]), 0.01) == []


def test_lower_errors_are_better() -> None:
    joint = of_means({"a": np.random.default_rng(0).normal(2, 0.1, (3, 50)), "b": np.full((3, 50), 3.0)})
    assert compare(joint, 0.1, better="lower")[0].verdict == "better"
    assert compare(joint, 0.1, better="higher")[0].verdict == "worse"
    with pytest.raises(ValueError, match="0 or more"):
        compare(joint, -0.1)


def test_simultaneous_intervals_are_those_of_independent_normal_figures() -> None:
    draws = np.random.default_rng(0).normal(size=(20000, 6)) * np.arange(1, 7)
    _, together = simultaneous(np.zeros(6), draws)
    sidak = 2.6310  # the normal quantile of (1 + 0.95 ** (1 / 6)) / 2
    assert [interval.half / (k + 1) for k, interval in enumerate(together)] == pytest.approx([sidak] * 6, rel=0.03)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_verdict_turns_round_with_the_models(centre: float, half: float, minimal: float) -> None:
    turned = {"better": "worse", "worse": "better", "equal": "equal", "cannot tell": "cannot tell"}
    difference = Interval(centre, centre - half, centre + half)
    assert verdict(difference.scaled(-1), minimal, 2) == turned[verdict(difference, minimal, 2)]


def test_what_would_tell_is_about_what_it_takes() -> None:
    """A difference of 5 points, seen with 100 images: the interval narrows with the root of their number."""
    rng = np.random.default_rng(0)
    right = {"a": np.tile(rng.permutation(np.arange(100) < 80), (4, 1)).astype(float)}
    right["b"] = np.tile(rng.permutation(np.arange(100) < 75), (4, 1)).astype(float)
    joint = of_means(right)  # seeds all alike
    (pair,) = compare(joint, 0.01)
    assert pair.verdict == "cannot tell"
    found = needed(joint, "b", "a", 0.01)
    expected = 100 * (pair.together.half / 0.04) ** 2
    assert found.images is not None
    assert expected / 1.5 < found.images < expected * 1.6
    assert found.seeds is None  # more of them would not tell what images leave open


def test_more_seeds_tell_what_seeds_leave_open() -> None:
    rng = np.random.default_rng(0)
    right = {name: mean + rng.normal(size=(1, 5000)) * 0.01 + np.array([[-0.05], [0.0], [0.05]]) for name, mean in
             (("a", 0.80), ("b", 0.74))}  # fmt: skip
    joint = of_means(right, resamples=1000)
    assert compare(joint, 0.01)[0].verdict == "cannot tell"
    found = needed(joint, "a", "b", 0.01)
    assert found.images is None
    assert found.seeds is not None
    assert 4 <= found.seeds <= 15


def test_a_draw_without_a_score_does_not_hide_what_would_tell() -> None:
    """A metric may not be defined on some drawn images."""
    joint = of_means(outcomes(np.random.default_rng(0), [0.75, 0.8], 3, 200), resamples=300)
    images = joint.images.copy()
    images[0] = math.nan
    whole, holed = needed(joint, "m0", "m1", 0.01), needed(replace(joint, images=images), "m0", "m1", 0.01)
    assert whole.both is not None
    assert holed.both is not None
    assert holed.both[0] == pytest.approx(whole.both[0], rel=0.3)
    images[:160] = math.nan
    assert needed(replace(joint, images=images), "m0", "m1", 0.01).both is None


def test_one_seed_says_nothing_of_how_many_would_tell() -> None:
    joint = of_means(outcomes(np.random.default_rng(0), [0.9, 0.6], 1, 200))
    found = needed(joint, "m0", "m1", 0.01)
    assert (found.images, found.seeds) == (None, None)
