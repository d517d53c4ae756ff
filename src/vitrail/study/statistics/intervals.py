"""A figure with its interval, and how one is read off draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitrail.report.statistics import Doubles, draws

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure and what else it could be at the level asked for; low and high are NaN where that is not known.

    low <= value <= high. Ends are infinite where a figure has no bound, as that of a point where curves may not cross.
    """

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    def holds(self, truth: float) -> bool:
        """Whether `truth` lies in it; False where it is not known."""
        return self.low <= truth <= self.high

    def within(self, least: float, most: float) -> Interval:
        """The same, with ends that lie beyond what can be moved there."""
        if not self.known:
            return self
        return Interval(self.value, min(max(self.low, least), most), min(max(self.high, least), most))

    def scaled(self, by: float) -> Interval:
        """The same figure in another unit, or seen from the other side where `by` is negative."""
        low, high = sorted((self.low * by, self.high * by)) if self.known else (math.nan, math.nan)
        return Interval(self.value * by, low, high)


def whole(draws: Doubles) -> Doubles:
    """The draws (R,) or (R, P) without NaN; none where they are not more than half: nothing is known then."""
    known = draws[~np.isnan(draws.reshape(len(draws), -1)).any(axis=1)]
    return known if len(known) > len(draws) / 2 else known[:0]


def between(value: float, draws: Doubles, level: float = LEVEL) -> Interval:
    """The middle `level` of draws (R,) of a figure, widened to `value` if that lies outside.

    Draws that are NaN are left out; where they are more than half, nothing is known. Infinite ones count: an end is
    infinite where more than its tail of the draws is.
    """
    known = np.sort(whole(draws))
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan)
    tail = (1 - level) / 2
    last = len(known) - 1  # no interpolation between a finite and an infinite draw
    low, high = known[math.floor(tail * last)], known[math.ceil((1 - tail) * last)]
    return Interval(value, min(value, float(low)), max(value, float(high)))


def over_images(values: Doubles) -> Interval:
    """The mean of one value per image (n,), with the bootstrap's interval over images; NaN are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    drawn = np.concatenate([block @ known / len(known) for block in draws(len(known))])
    return between(float(known.mean()), drawn)
