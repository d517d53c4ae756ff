"""Exponents and terms of cost found again from noisy timings, and where one cost overtakes another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from vitrail.study.statistics.growth import fit_exponent, fit_two_terms, overtakes
from vitrail.study.statistics.nonnegative import two_terms

TOKENS = np.array([64.0, 144.0, 256.0, 576.0, 1024.0, 2304.0])


def test_an_exponents_interval_is_that_of_a_regression() -> None:
    seconds = 1e-6 * TOKENS**1.3 * np.exp(np.random.default_rng(0).normal(size=6) * 0.05)
    found = fit_exponent(TOKENS, seconds)
    theirs = scipy.stats.linregress(np.log(TOKENS), np.log(seconds))
    assert found.exponent.value == pytest.approx(theirs.slope)
    assert found.exponent.half == pytest.approx(scipy.stats.t.ppf(0.975, 4) * theirs.stderr, rel=0.1)
    assert found.factor == pytest.approx(math.exp(theirs.intercept))


def test_exponents_terms_and_crossings_are_held_as_often_as_stated() -> None:
    rng, held = np.random.default_rng(0), []
    for _ in range(150):
        noise = np.exp(rng.normal(size=(6, 5)) * 0.05)
        power = fit_exponent(TOKENS, (TOKENS**1.5)[:, None] * noise)
        terms = fit_two_terms(TOKENS, (3.0 * TOKENS + 0.004 * TOKENS**2)[:, None] * noise)
        held.append([power.exponent.holds(1.5), terms.linear.holds(3.0), terms.quadratic.holds(0.004)])
        held[-1] += [terms.crossing.holds(750.0), terms.at(5000).holds(3.0 * 5000 + 0.004 * 5000**2)]
    assert np.mean(held, axis=0) == pytest.approx(0.95, abs=0.045)


def test_local_exponents_show_one_that_rises() -> None:
    found = fit_exponent(TOKENS, 3.0 * TOKENS + 0.02 * TOKENS**2)
    assert list(found.local) == sorted(found.local)
    assert 1 < found.local[0] < found.exponent.value < found.local[-1] < 2
    terms = fit_two_terms(TOKENS, 3.0 * TOKENS + 0.02 * TOKENS**2)
    assert terms.crossing.value == pytest.approx(150)
    assert terms.share(150) == pytest.approx(0.5)


def test_where_one_cost_overtakes_another() -> None:
    vit = fit_two_terms(TOKENS, 2.0 * TOKENS + 0.004 * TOKENS**2)
    swin = fit_two_terms(TOKENS, 4.0 * TOKENS)
    assert swin.crossing.value == math.inf
    assert overtakes(vit, swin).value == pytest.approx(500)
    assert overtakes(swin, vit).value == math.inf
    assert overtakes(fit_two_terms(TOKENS, 9.0 * TOKENS + 0.004 * TOKENS**2), swin).value == 0
    assert overtakes(fit_two_terms(TOKENS, 9.0 * TOKENS), swin).value == 0


@given(
    st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3), st.floats(-3, 3)), min_size=3, max_size=8),
)
def test_two_terms_are_scipys_nonnegative_ones(rows: list[tuple[float, float, float]]) -> None:
    p, q, y = np.array(rows).T
    a, c = two_terms((p * p).sum(), (p * q).sum(), (q * q).sum(), (p * y).sum(), (q * y).sum())
    _, norm = nnls(np.stack([p, q], axis=1), y)
    assert a >= 0
    assert c >= 0
    assert np.sqrt(((a * p + c * q - y) ** 2).sum()) == pytest.approx(norm, abs=1e-5)


def test_costs_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="4 sizes"):
        fit_exponent(TOKENS[:3], np.ones(3))
    with pytest.raises(ValueError, match="above 0"):
        fit_two_terms(TOKENS, np.zeros(6))
