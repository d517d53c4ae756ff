"""The figures beside the curves, against closed forms and SciPy: intervals, rank correlation, pointing, energy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from vitrail.explain.trust.bootstrap import LEAST, expanded, mean, student
from vitrail.explain.trust.pointing import energy, hit, point
from vitrail.explain.trust.sanity import rank_correlation


@pytest.mark.parametrize("freedom", [7, 11, 15, 31, 99, 1000])
@pytest.mark.parametrize("share", [0.95, 0.975, 0.9975])
def test_students_quantile_is_scipys(freedom: int, share: float) -> None:
    assert student(share, freedom) == pytest.approx(scipy.stats.t.ppf(share, freedom), rel=4e-3)


def test_the_interval_of_a_normal_mean_is_students() -> None:
    values = np.asarray(scipy.stats.norm.ppf((np.arange(40) + 0.5) / 40))
    found = mean(values)
    half = scipy.stats.t.ppf(0.975, 39) * values.std(ddof=1) / math.sqrt(40)
    assert found.value == pytest.approx(0, abs=1e-12)
    assert (-found.low, found.high) == pytest.approx((half, half), rel=0.07)
    assert expanded(0.025, 10**6) == pytest.approx(0.025, rel=1e-4)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = [(e := mean(rng.exponential(size=16))).low <= 1 <= e.high for _ in range(150)]
    # skewed values are the hard case: the plain percentile interval holds it in about 88 %
    assert 0.89 <= np.mean(held) <= 0.98


def test_paired_values_are_drawn_alike_so_differences_add_up() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(30), rng.random(30)
    shifted = mean(first + 0.25)
    assert (shifted.low, shifted.high) == pytest.approx((mean(first).low + 0.25, mean(first).high + 0.25))
    difference = mean(first - second)
    assert difference.value == pytest.approx(first.mean() - second.mean())
    assert mean(first, 0.99).low < mean(first, 0.95).low


def test_too_few_images_have_a_mean_and_no_interval() -> None:
    few = mean(np.array([1.0, 3.0, math.nan]))
    assert (few.value, few.images, few.known) == (2.0, 2, False)
    assert mean(np.full(LEAST, 2.0)).known
    nothing = mean(np.array([math.nan]))
    assert nothing.images == 0
    assert math.isnan(nothing.value)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
def test_rank_correlation_is_scipys_ties_included(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(values, np.float64) for values in zip(*pairs, strict=True))
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-12)


def test_the_point_is_the_highest_cell_or_the_middle_of_equal_ones() -> None:
    values = np.zeros((4, 4))
    values[1, 2] = 1
    assert point(values) == (1.5 / 4, 2.5 / 4)
    values[1, 3] = values[2, 2] = values[2, 3] = 1  # one cell of a coarser map
    assert point(values) == (0.5, 0.75)
    assert point(np.zeros((4, 4))) == (0.5, 0.5)
    assert point(-np.ones((2, 2))) == (0.5, 0.5)


def test_a_hit_is_on_the_object_or_within_a_sixteenth_of_the_side() -> None:
    values = np.zeros((8, 8))
    values[2, 4] = 1  # its middle is at 20, 36 of 64 pixels
    region = np.zeros((64, 64), bool)
    region[20, 40] = True  # its square begins at 40: 4 pixels away, a sixteenth
    assert hit(values, region)
    further = np.roll(region, 1, axis=1)
    assert not hit(values, further)
    assert not hit(values, np.zeros((64, 64), bool))


def test_random_points_hit_as_often_as_the_object_and_its_margin_are_large() -> None:
    rng = np.random.default_rng(0)
    region = np.zeros((64, 64), bool)
    region[24:40, 8:24] = True
    # 16 x 16 cells have their middles at 2, 6, ...: 6 rows and 6 columns of them are at most 4 pixels away
    expected = sum(hit(np.eye(256)[n].reshape(16, 16), region) for n in range(256)) / 256
    assert expected == 36 / 256
    found = np.mean([hit(rng.random((16, 16)), region) for _ in range(3000)])
    assert found == pytest.approx(expected, abs=0.02)


def test_energy_is_the_share_of_the_positive_part() -> None:
    values = np.array([[3.0, -5.0], [1.0, math.nan]])
    region = np.array([[True, True], [False, False]])
    assert energy(values, region) == 0.75
    assert energy(np.ones((2, 2)), region) == 0.5
    assert energy(-np.ones((2, 2)), region) == 0.5  # says nothing: what a flat map has
