"""How far chance in drawing the images may have moved a mean: the bootstrap over images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from vitrail.seeding import generator

Doubles = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 4000
LEAST = 8
"""Fewer images than this have no interval: resampling them says little of what was not drawn."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `images`, and its interval; low and high are NaN where there are too few for one."""

    value: float
    low: float
    high: float
    images: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low)


def mean(values: Doubles, level: float = 0.95) -> Estimate:
    """Of one value per image (n,), NaN where an image has none: the mean and its bootstrap interval of that level.

    The percentile interval, expanded to what Student's t has for so few images (Hesterberg 2015, arXiv 1411.5279,
    section 5.3): the plain one is too narrow. Draws are seeded by the number of images, so paired differences of the
    same images are drawn alike.
    """
    known = values[np.isfinite(values)]
    count = len(known)
    if count < LEAST:
        return Estimate(float(known.mean()) if count else math.nan, math.nan, math.nan, count)
    drawn = generator("faithfulness", count).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    means = drawn @ known / count
    tail = expanded((1 - level) / 2, count)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(known.mean()), float(low), float(high), count)


def expanded(tail: float, count: int) -> float:
    """The tail to cut off the bootstrap's means of `count` images so that `tail` is cut off the truth's."""
    normal = NormalDist()
    return normal.cdf(-math.sqrt(count / (count - 1)) * student(1 - tail, count - 1))


def student(share: float, freedom: int) -> float:
    """The quantile of Student's t, for 7 degrees of freedom and more to about 1 in 1,000.

    Cornish and Fisher's expansion in the normal quantile (Abramowitz and Stegun 1964, 26.7.5).
    """
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))
