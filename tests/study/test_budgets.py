"""The best size for a budget, found again with its interval, and how it grows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from worlds import Doubles
from worlds_of_curves import measured

from vitrail.study.statistics.budgets import best_size, growth_of_best

WIDTHS = np.geomspace(1e5, 3e7, 6)


def bowl(best: float, floor: float = 0.2, bend: float = 0.02) -> Doubles:
    """Errors of WIDTHS at a budget whose best size is `best`."""
    return np.asarray(floor + bend * np.log(WIDTHS / best) ** 2)


def test_best_sizes_and_their_growth_are_held_as_often_as_stated() -> None:
    rng, budgets, held = np.random.default_rng(0), [1.0, 4.0, 16.0, 64.0], []
    true = [6e5 * budget**0.5 for budget in budgets]
    for _ in range(60):
        optima = [best_size(WIDTHS, measured(rng, bowl(size), seed_sd=0.01, tag=f"{size:.0f}@")) for size in true]
        growth = growth_of_best(budgets, optima)
        held.append([*(o.size.holds(size) for o, size in zip(optima, true, strict=True)), growth.exponent.holds(0.5)])
        held[-1].append(growth.best(256.0).holds(6e5 * 16))
    assert 0.91 <= np.mean(held) <= 0.995
    assert np.mean([o.inside for o in optima]) > 0.95


def test_exact_bowls_give_exact_optima() -> None:
    rng = np.random.default_rng(0)
    true = [1e6, 2e6, 4e6]
    optima = [best_size(WIDTHS, measured(rng, bowl(s), seed_sd=1e-9, image_sd=0.0)) for s in true]
    assert [optimum.size.value for optimum in optima] == pytest.approx(true, rel=1e-4)
    assert [optimum.error.value for optimum in optima] == pytest.approx([0.2] * 3, rel=1e-4)
    growth = growth_of_best([1.0, 2.0, 4.0], optima)
    assert (growth.exponent.value, growth.factor.value) == pytest.approx((1.0, 1e6), rel=1e-3)


def test_an_error_that_still_falls_has_no_best_size_among_those_tried() -> None:
    falling = measured(np.random.default_rng(0), 0.5 - 0.03 * np.log(WIDTHS / 1e5), seed_sd=0.001)
    found = best_size(WIDTHS, falling)
    assert found.inside == 0
    assert found.size.high == math.inf
    rising = best_size(WIDTHS, measured(np.random.default_rng(0), 0.2 + 0.03 * np.log(WIDTHS / 1e5), seed_sd=0.001))
    assert rising.size.low == 0
    assert not growth_of_best([1.0, 2.0], [found, rising]).exponent.known


def test_too_few_sizes_or_budgets_are_refused() -> None:
    joint = measured(np.random.default_rng(0), bowl(1e6))
    with pytest.raises(ValueError, match="4 sizes"):
        best_size(WIDTHS[:3], joint.select(joint.names[:3]))
    with pytest.raises(ValueError, match="2 budgets"):
        growth_of_best([1.0], [best_size(WIDTHS, joint)])
