"""Outliers by a rule that outliers cannot bend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FEWEST = 20
"""With fewer values, nothing is called an outlier."""

RULE = "more than three interquartile ranges beyond the quartiles (Tukey's far-out fences)"

Doubles = np.ndarray[Any, np.dtype[np.float64]]


def fences(values: Sequence[float] | Doubles, few: int = 3) -> tuple[float, float]:
    """Tukey's outer fences ("Exploratory Data Analysis", 1977, section 2D): what lies beyond is far out.

    Of normal numbers 2 in a million do. Where half of the values and more are equal there is no range between the
    quartiles: then at most `few` others are far out, whatever they are, and of more the range is that which their own
    quartiles span together with what most are.
    """
    given = np.asarray(values, np.float64)
    low, high = np.percentile(given, [25, 75])
    if low == high:
        others = given[given != low]
        if len(others) <= few:
            return float(low), float(low)
        low, high = np.percentile(others, [25, 75]).clip([-np.inf, low], [low, np.inf])
    return float(low - 3 * (high - low)), float(high + 3 * (high - low))


def far_out(values: Sequence[float] | Doubles, few: int = 3) -> list[int]:
    """Places of the outliers, the farthest first; of positive values only those that are far out by ratio as well.

    Sizes, masses and prices are skewed: their largest are far from the quartiles and yet of the same kind.
    """
    given = np.asarray(values, np.float64)
    if len(given) < FEWEST:
        return []
    beyond = _beyond(given, few)
    if (given > 0).all():
        beyond = np.where(_beyond(np.log(given), few) > 0, beyond, 0)
    order = np.argsort(-beyond, kind="stable")
    return [int(place) for place in order if beyond[place] > 0]


def _beyond(values: Doubles, few: int) -> Doubles:
    """How far each value lies beyond the fences, 0 within."""
    low, high = fences(values, few)
    distance: Doubles = np.maximum(np.maximum(low - values, values - high), 0)
    return distance
