"""Where two learning curves cross: how many times the images one model needs to pass another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.study.statistics.curves import Curve
from vitrail.study.statistics.intervals import Interval, between, whole

REACH = 100.0
_STEPS = 240


@dataclass(frozen=True)
class Crossing:
    """`first` passes `second` at `factor` times the largest measured size.

    1 where it leads already; infinite where it does not pass within `reach` times.  share: of the draws, those where it
    passes within.
    """

    first: str
    second: str
    factor: Interval
    share: float
    reach: float


def crossing(names: tuple[str, str], first: Curve, second: Curve, reach: float = REACH) -> Crossing:
    """Where the law of `first` falls below that of `second`, beyond what was measured.

    Both curves come from one `Joint`, so that each draw is of the same test images. Raises ValueError where they end at
    different sizes.
    """
    if first.largest != second.largest or len(first.draws.b) != len(second.draws.b):
        raise ValueError("Curves that are to cross must end at the same size and come from the same draws.")
    factors = np.geomspace(1.0, reach, _STEPS + 1)
    where = factors * first.largest
    value = _first_below(first.law.at(where) - second.law.at(where), factors)
    drawn = _first_below(first.draws.at(where) - second.draws.at(where), factors)
    known = whole(drawn)
    share = float(np.isfinite(known).mean()) if len(known) else math.nan
    return Crossing(*names, between(float(value[0]), drawn), share, reach)


def _first_below(gaps: Doubles, factors: Doubles) -> Doubles:
    """The factor (R,) at which gaps (R, P) first fall below 0, between two of them by their logarithm."""
    below = gaps < 0
    after = below.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(gaps))
    high, low = gaps[rows, before], gaps[rows, after]
    part = np.where(after > 0, high / np.where(high > low, high - low, 1.0), 0.0)
    logs = np.log(factors)
    found = np.exp(logs[before] + part * (logs[after] - logs[before]))
    passed = np.where(below.any(axis=1), found, math.inf)
    return np.where(np.isnan(gaps).any(axis=1), math.nan, passed)
