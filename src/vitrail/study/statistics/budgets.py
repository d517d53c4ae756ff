"""The best size of a model for a budget: iso-FLOP curves, their optima, and how the optimum grows with the budget.

Per budget, the error is a parabola in the logarithm of size near its lowest point; the optima of several budgets lie on
a power law (Hoffmann et al. 2022, arXiv 2203.15556, approach 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.study.statistics.intervals import Interval, between, whole
from vitrail.study.statistics.joint import Joint


@dataclass(frozen=True)
class Optimum:
    """The size with the least error at one budget.

    size: in the unit given; infinite where error still falls at the largest size with no turn in sight, 0 at the
    smallest.  error: at that size, NaN where it is not finite.  inside: the share of draws whose optimum lies among the
    sizes that were tried, NaN where draws are not known; a low one says that the range tried was the wrong one.  draws
    (R,): of the size.
    """

    size: Interval
    error: Interval
    inside: float
    draws: Doubles


def best_size(sizes: Sequence[float], joint: Joint) -> Optimum:
    """Of models of `sizes` trained with one budget, whose errors are the columns of `joint`, in the same order.

    sizes: parameters or FLOPs of one image, > 0.  Raises ValueError for fewer than 4 sizes: a parabola through 3 points
    has no misfit.
    """
    x = np.asarray(sizes, np.float64)
    if len(x) < 4 or len(x) != len(joint.names) or (x <= 0).any():
        raise ValueError(f"A best size needs 4 sizes above 0 or more, and an error of each, not {list(sizes)}.")
    logs = np.log(x)
    centre = logs.mean()
    fitted = np.linalg.pinv(np.vander(logs - centre, 3))  # (3, K): from errors to a parabola
    value, drawn = (_turn(errors @ fitted.T, centre, logs) for errors in (joint.values[None], joint.draws))
    size = between(float(value[0][0]), drawn[0])
    known = whole(drawn[0])
    inside = float(((known >= x.min()) & (known <= x.max())).mean()) if len(known) else math.nan
    return Optimum(size, between(float(value[1][0]), drawn[1]), inside, drawn[0])


def _turn(parabolas: Doubles, centre: float, logs: Doubles) -> tuple[Doubles, Doubles]:
    """Size and error (R,) where parabolas (R, 3) are lowest; at an end where they have no lowest point."""
    bend, slope, level = parabolas.T
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = -slope / (2 * bend)
        error = level - slope * slope / (4 * bend)
    far = 10 * (logs.max() - logs.min())  # beyond it the bend is chance, and exp may overflow
    bent = (bend > 0) & (np.abs(turn) < far)
    size = np.exp(np.where(bent, turn, 0.0) + centre)
    size = np.where(bent, size, np.where(slope < 0, math.inf, 0.0))
    missing = np.isnan(parabolas).any(axis=1)
    return np.where(missing, math.nan, size), np.where(bent, error, math.nan)


@dataclass(frozen=True)
class BestGrowth:
    """best size = factor x budget ^ exponent; draws (R, 2): logarithm of factor, exponent."""

    exponent: Interval
    factor: Interval
    value: tuple[float, float]
    draws: Doubles

    def best(self, budget: float) -> Interval:
        """The best size predicted for a budget, measured or not."""
        where = math.log(budget)
        with np.errstate(over="ignore"):
            drawn = np.exp(self.draws[:, 0] + self.draws[:, 1] * where)
        return between(math.exp(self.value[0] + self.value[1] * where), drawn)


def growth_of_best(budgets: Sequence[float], optima: Sequence[Optimum]) -> BestGrowth:
    """The power law of the optima against budgets (> 0), at least 2; unknown where an optimum is seldom finite."""
    if len(budgets) < 2 or len(budgets) != len(optima) or min(budgets) <= 0:
        raise ValueError("Growth needs 2 budgets above 0 or more, and an optimum for each.")
    fitted = np.linalg.pinv(np.vander(np.log(np.asarray(budgets, np.float64)), 2, increasing=True))  # (2, B)
    values = np.array([[optimum.size.value for optimum in optima]])
    drawn = np.stack([optimum.draws for optimum in optima], axis=1)
    line, lines = (_lines(sizes, fitted) for sizes in (values, drawn))
    with np.errstate(over="ignore"):
        factors = np.exp(lines[:, 0])
    factor = between(float(np.exp(line[0, 0])), factors)
    return BestGrowth(between(float(line[0, 1]), lines[:, 1]), factor, (float(line[0, 0]), float(line[0, 1])), lines)


def _lines(sizes: Doubles, fitted: Doubles) -> Doubles:
    """Intercept and slope (R, 2) of the logarithms of sizes (R, B); NaN where one is 0 or infinite."""
    found = np.isfinite(sizes) & (sizes > 0)
    logs = np.log(np.where(found, sizes, 1.0))
    return np.where(found.all(axis=1, keepdims=True), logs @ fitted.T, math.nan)
