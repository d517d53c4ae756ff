"""How cost grows with the number of tokens or pixels: its exponent, and where the quadratic term overtakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.seeding import generator
from vitrail.study.statistics.intervals import Interval, between
from vitrail.study.statistics.joint import RESAMPLES
from vitrail.study.statistics.nonnegative import two_terms


@dataclass(frozen=True)
class Exponent:
    """cost = factor x N ^ exponent over the whole range; local (K - 1,): the exponents between neighbouring sizes.

    Where `local` rises from one to another, as ViT's from 1 towards 2, one exponent says little: see `TwoTerms`.
    """

    exponent: Interval
    factor: float
    local: tuple[float, ...]


def fit_exponent(sizes: Sequence[float], costs: Doubles) -> Exponent:
    """The line through logarithms, whose interval is that of what the points are off it: Student's t, K - 2 degrees.

    sizes (K,): N, ascending, > 0.  costs (K,) or (K, repeats): seconds or bytes, > 0; the median of repeats counts.
    Raises ValueError for fewer than 4 sizes.
    """
    x, y = _points(sizes, costs)
    logs = np.log(x)
    design = np.vander(logs, 2, increasing=True)
    fitted = np.linalg.pinv(design)
    line = fitted @ np.log(y)
    drawn = _perturbed(np.log(y), design @ line, len(x) - 2) @ fitted.T
    local = np.diff(np.log(y)) / np.diff(logs)
    exponent = between(float(line[1]), drawn[:, 1])
    return Exponent(exponent, math.exp(line[0]), tuple(float(one) for one in local))


@dataclass(frozen=True)
class TwoTerms:
    """cost = linear N + quadratic N^2, neither negative.

    crossing: the N at which both cost the same; infinite without a quadratic term, 0 without a linear one.
    draws (R, 2): of both terms.
    """

    linear: Interval
    quadratic: Interval
    crossing: Interval
    draws: Doubles

    def at(self, size: float) -> Interval:
        """The cost at N, measured or not."""
        value = self.linear.value * size + self.quadratic.value * size**2
        return between(value, self.draws @ np.array([size, size**2]))

    def share(self, size: float) -> float:
        """The share of the quadratic term at N."""
        whole = self.at(size).value
        return self.quadratic.value * size**2 / whole if whole > 0 else math.nan


def fit_two_terms(sizes: Sequence[float], costs: Doubles) -> TwoTerms:
    """By least squares of relative deviations, so that small N count as large ones do; arguments as `fit_exponent`.

    What a call costs beside its tokens is no term: leave out sizes whose cost does not change with N.
    """
    x, y = _points(sizes, costs)
    (value,) = _two(x, y, y[None])
    said = value[0] * x + value[1] * x**2
    drawn = _two(x, y, _perturbed(y / said, np.ones(len(x)), len(x) - 2) * said)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings, crossing = drawn[:, 0] / drawn[:, 1], value[0] / value[1]
    linear, quadratic = (between(float(value[term]), drawn[:, term]) for term in (0, 1))
    return TwoTerms(linear, quadratic, between(float(crossing), crossings), drawn)


def overtakes(first: TwoTerms, second: TwoTerms) -> Interval:
    """The N beyond which `first` costs more than `second`: infinite where it never does, 0 where it always does."""
    value = np.array([[first.linear.value, first.quadratic.value]])
    other = np.array([[second.linear.value, second.quadratic.value]])
    return between(float(_overtaking(value, other)[0]), _overtaking(first.draws, second.draws))


def _overtaking(first: Doubles, second: Doubles) -> Doubles:
    steeper, dearer = first[:, 1] - second[:, 1], first[:, 0] - second[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = -dearer / steeper
    never = np.where(dearer > 0, 0.0, math.inf)  # equal in N^2, or steeper the other way round: N decides, or nothing
    return np.where(steeper > 0, np.maximum(meets, 0.0), np.where(steeper == 0, never, math.inf))


def _points(sizes: Sequence[float], costs: Doubles) -> tuple[Doubles, Doubles]:
    x, table = np.asarray(sizes, np.float64), np.asarray(costs, np.float64)
    y = np.median(table, axis=1) if table.ndim == 2 else table
    if len(x) < 4 or len(x) != len(y) or (x <= 0).any() or (np.diff(x) <= 0).any() or not (y > 0).all():
        raise ValueError("Growth needs 4 sizes or more, ascending and above 0, and a cost above 0 at each.")
    return x, y


def _two(x: Doubles, measured: Doubles, costs: Doubles) -> Doubles:
    """Terms (R, 2) nearest to costs (R, K), each deviation relative to what was measured."""
    p, q = x / measured, x**2 / measured
    unit = x[-1]  # both columns of like size
    q = q / unit
    y = costs / measured
    linear, quadratic = two_terms((p * p).sum(), (p * q).sum(), (q * q).sum(), y @ p, y @ q)
    return np.stack([linear, quadratic / unit], axis=1)


def _perturbed(seen: Doubles, said: Doubles, freedom: int) -> Doubles:
    """Draws (R, K) of points around `seen`, spread as far as those are off what the fit said, as Student's t has it."""
    rng = generator("growth", len(seen))
    spread = math.sqrt(float(((seen - said) ** 2).sum()) / freedom)
    scale = spread * np.sqrt(freedom / rng.chisquare(freedom, (RESAMPLES, 1)))
    return seen + rng.normal(size=(RESAMPLES, len(seen))) * scale
