"""Intervals of scores over images and seeds: coverage on made-up studies, other metrics, groups, few images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Doubles, outcomes

from vitrail.report.statistics import wilson
from vitrail.study.statistics.folds import of_folds
from vitrail.study.statistics.intervals import Interval, between
from vitrail.study.statistics.joint import of_means, of_metric, of_sums


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.05), (3, 0.3), (6, 0.15)])
def test_intervals_over_images_and_seeds_hold_the_truth_as_often_as_they_say(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(seeds)
    accuracies, held = [0.7, 0.8, 0.9], []
    for _ in range(80):
        found = of_means(outcomes(rng, accuracies, seeds, 120, seed_sd), resamples=300)
        held += [found.interval(name).holds(truth) for name, truth in zip(found.names, accuracies, strict=True)]
    assert 0.92 <= np.mean(held) <= 0.985


def test_resampling_three_seeds_alone_would_be_too_narrow() -> None:
    """The control: where seeds differ much, images alone do not hold the truth."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(60):
        found = of_means(outcomes(rng, [0.7, 0.8], 3, 400, 0.5), resamples=200)
        held += [between(float(found.values[m]), found.images[:, m]).holds((0.7, 0.8)[m]) for m in range(2)]
    assert np.mean(held) < 0.7


def test_a_curve_keeps_its_large_and_small_chances_apart() -> None:
    """Models at the start of a learning curve differ much between seeds; those at its end must not inherit that."""
    rng = np.random.default_rng(0)
    early = outcomes(rng, [0.5, 0.5], 3, 600, seed_sd=0.5)
    late = outcomes(rng, [0.97, 0.97], 3, 600, seed_sd=0.02)
    cells = {**{f"early {k}": v for k, v in early.items()}, **{f"late {k}": v for k, v in late.items()}}
    both, alone = of_means(cells), of_means({f"late {k}": v for k, v in late.items()})
    assert both.interval("late m0").half < 1.5 * alone.interval("late m0").half
    assert both.interval("early m0").half > 5 * both.interval("late m0").half


def test_seeds_that_agree_on_every_image_add_nothing() -> None:
    right = np.tile(np.random.default_rng(0).random(300) < 0.7, (3, 1)).astype(float)
    found = of_means({"a": right, "b": 1 - right})
    assert np.abs(found.seeds).max() < 1e-9


def test_one_seed_has_the_bootstrap_interval_of_its_images() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(1, 300))
    found = of_means({"mae": values}, resamples=2000).interval("mae")
    theirs = scipy.stats.bootstrap((values[0],), np.mean, n_resamples=4000, rng=np.random.default_rng(1), method="BCa")
    expected = theirs.confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * found.half)
    assert found.value == values.mean()


def test_a_model_without_an_error_still_has_an_interval() -> None:
    found = of_means({"a": np.ones((3, 200)), "b": np.ones((3, 200))})
    assert found.interval("a").high == 1
    assert found.interval("a").low == pytest.approx(wilson(200, 200).low, abs=0.5 / 200)
    assert np.ptp(found.draws[:, 0] - found.draws[:, 1]) > 0


def test_groups_are_drawn_whole() -> None:
    """Images of a group all right or all wrong: 20 groups of 10 tell what 20 images tell."""
    right = (np.arange(20) % 3 > 0).astype(float)
    one = of_means({"a": right[None]})
    groups = np.repeat([f"patient {i:02}" for i in range(20)], 10)
    many = of_means({"a": np.repeat(right, 10)[None]}, groups=groups)
    loose = of_means({"a": np.repeat(right, 10)[None]})
    assert many.draws == pytest.approx(one.draws)
    assert loose.interval("a").half < 0.5 * many.interval("a").half


def r2(truth: Doubles, predicted: Doubles) -> float:
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def r2_of_sums(sums: Doubles) -> Doubles:
    count, first, second, residual = np.moveaxis(sums, -1, 0)
    return np.asarray(1 - residual / (second - first**2 / count))


def test_any_metric_and_the_same_from_sums_agree() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(size=60)
    predicted = truth + rng.normal(size=(3, 60)) * 0.5
    whole = of_metric(r2, truth, {"a": predicted}, resamples=200)
    parts = np.stack([np.broadcast_to(x, (3, 60)) for x in (1.0, truth, truth**2, (truth - predicted) ** 2)], axis=-1)
    sums = of_sums(r2_of_sums, {"a": parts}, resamples=200)
    assert sums.values == pytest.approx(whole.values)
    assert sums.draws == pytest.approx(whole.draws)
    assert whole.interval("a").known


def test_a_metric_of_groups_keeps_images_with_their_truth() -> None:
    truth, groups = np.arange(24.0), np.repeat(np.arange(12), 2)
    found = of_metric(lambda t, p: float(np.abs(t - p).max()), truth, {"a": truth[None] + 1}, groups, resamples=50)
    assert found.draws == pytest.approx(1.0)


def test_a_metric_that_is_seldom_defined_has_no_interval() -> None:
    found = of_metric(lambda t, p: math.nan, np.arange(9), {"a": np.zeros((2, 9))}, resamples=20)
    assert not found.interval("a").known


def test_too_few_images_have_a_score_and_no_interval() -> None:
    found = of_means({"a": np.ones((3, 5))})
    assert found.values[0] == 1
    assert not found.interval("a").known
    assert not found.interval("a").scaled(-100).known


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        of_means({"a": np.ones((3, 20)), "b": np.ones((3, 21))})
    with pytest.raises(ValueError, match="missing or not finite"):
        of_means({"a": np.full((3, 20), np.nan)})
    with pytest.raises(ValueError, match=r"\(seeds, images\)"):
        of_means({"a": np.ones(20)})
    with pytest.raises(ValueError, match="groups"):
        of_means({"a": np.ones((3, 20))}, groups=np.ones(19))
    with pytest.raises(ValueError, match="truth"):
        of_metric(r2, np.ones(9), {"a": np.ones((2, 8))})
    with pytest.raises(ValueError, match="folds"):
        of_folds({"a": np.ones((2, 5))}, 4, 100)


def test_folds_have_nadeau_and_bengios_interval() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(0.8, 0.05, size=(3, 5))
    found = of_folds({"a": scores}, 5, 200, resamples=8000).interval("a")
    half = scipy.stats.t.ppf(0.975, 14) * np.sqrt((1 / 15 + 1 / 4) * scores.var(ddof=1))
    assert found.value == pytest.approx(scores.mean())
    assert found.half == pytest.approx(half, rel=0.06)


def test_differences_over_folds_have_nadeau_and_bengios_interval_too() -> None:
    rng = np.random.default_rng(2)
    common = rng.normal(0, 0.05, size=(2, 5))
    scores = {name: 0.8 + common + rng.normal(0, 0.01, size=(2, 5)) for name in "abcd"}
    found = of_folds(scores, 5, 200, resamples=8000)
    for other in range(1, 4):
        half = scipy.stats.t.ppf(0.975, 9) * np.sqrt(
            (1 / 10 + 1 / 4) * (scores["a"] - scores["abcd"[other]]).var(ddof=1)
        )
        draws = found.draws[:, 0] - found.draws[:, other]
        assert between(float(draws.mean()), draws).half == pytest.approx(half, rel=0.07)


def test_a_models_draws_do_not_depend_on_who_else_is_there() -> None:
    """Images are drawn alike for all, so that differences are of the same images."""
    right = outcomes(np.random.default_rng(0), [0.7, 0.8], 1, 50)
    both, alone = of_means(right), of_means({"m0": right["m0"]})
    names = both.select(["m1"]).names
    assert names == ("m1",)
    assert both.errors().values == pytest.approx(1 - both.values)
    assert both.errors().draws == pytest.approx(1 - both.draws)
    plain = {name: row + 0.25 for name, row in right.items()}  # no longer right or wrong: no image is imagined
    assert of_means(plain).draws[:, 0] == pytest.approx(of_means({"m0": plain["m0"]}).draws[:, 0])
    assert len(alone.draws) == len(both.draws)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=40), st.floats(-10, 10), st.floats(0.1, 5))
def test_intervals_move_with_what_is_measured(values: list[float], shift: float, scale: float) -> None:
    row = np.array(values) + 0.5
    plain = of_means({"a": row[None]}, resamples=200).interval("a")
    moved = of_means({"a": row[None] * scale + shift}, resamples=200).interval("a")
    assert plain.low <= plain.value <= plain.high
    assert row.min() - plain.half <= plain.low
    if not np.isin(row, (0, 1)).all() and not np.isin(row * scale + shift, (0, 1)).all():
        expected = [x * scale + shift for x in (plain.value, plain.low, plain.high)]
        assert [moved.value, moved.low, moved.high] == pytest.approx(expected, abs=1e-6)


def test_ends_of_an_interval_may_be_infinite() -> None:
    draws = np.concatenate([np.arange(90.0), np.full(10, math.inf)])
    assert between(50, draws) == Interval(50, 2, math.inf)
    assert not between(50, np.full(10, math.nan)).known
    assert between(50, draws).scaled(-1) == Interval(-50, -math.inf, -2)
