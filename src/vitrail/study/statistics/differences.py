"""Which of several models is better: all differences at once, on the same images, against a difference that matters.

Intervals are simultaneous (the bootstrap's max-t: Westfall and Young 1993; Hothorn, Bretz and Westfall 2008): all hold
together in 95 of 100 studies. Holm's procedure on p-values would say which differences are not zero; a verdict needs to
know how large they are, and that they are small, which takes intervals that hold together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.study.statistics.intervals import LEVEL, Interval, between, whole
from vitrail.study.statistics.joint import Joint

Verdict = Literal["better", "worse", "equal", "cannot tell"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Comparison:
    """`first` against `second`: positive where `first` is better, in the score's unit.

    alone: the interval of this difference.  together: that which holds together with all others compared; the verdict
    is read from it.
    """

    first: str
    second: str
    alone: Interval
    together: Interval
    verdict: Verdict


def verdict(difference: Interval, minimal: float, seeds: int) -> Verdict:
    """What an interval says of a difference of which less than `minimal` does not matter.

    better: all of it lies above `minimal`.  worse: below -minimal.  equal: within both.  One seed tells nothing, since
    another training of the same model could have done otherwise.
    """
    if not difference.known or seeds < 2:
        return "cannot tell"
    if difference.low > minimal:
        return "better"
    if difference.high < -minimal:
        return "worse"
    return "equal" if -minimal <= difference.low and difference.high <= minimal and minimal > 0 else "cannot tell"


def compare(
    joint: Joint, minimal: float, better: Better = "higher", against: str | None = None, level: float = LEVEL
) -> list[Comparison]:
    """All pairs of models, or each against one that was named before the scores were seen.

    minimal: the least difference that matters, >= 0, in the score's unit. With folds, each repeat and fold is a
    training of its own, and counts as seeds do.
    """
    if minimal < 0:
        raise ValueError(f"The least difference that matters is {minimal}; give 0 or more.")
    pairs = _pairs(joint.names, against)
    if not pairs:
        return []
    sign = 1.0 if better == "higher" else -1.0
    drawn, values = joint.draws * sign, joint.values * sign
    first, second = ([joint.index(pair[side]) for pair in pairs] for side in (0, 1))
    alone, together = simultaneous(values[first] - values[second], drawn[:, first] - drawn[:, second], level)
    most = joint.limits[1] - joint.limits[0]  # no difference is larger than the range of scores
    alone, together = ([one.within(-most, most) for one in each] for each in (alone, together))
    trained = joint.count * max(1, joint.folds)
    return [
        Comparison(*pair, one, wide, verdict(wide, minimal, trained))
        for pair, one, wide in zip(pairs, alone, together, strict=True)
    ]


def simultaneous(values: Doubles, draws: Doubles, level: float = LEVEL) -> tuple[list[Interval], list[Interval]]:
    """Of figures (P,) and their draws (R, P): each one's interval, and intervals that all hold at once.

    The latter are the former made wider, all by the same factor on both sides of the median: the factor within which
    the farthest figure of a draw stays in `level` of the draws. Rows with NaN are left out.
    """
    known = whole(draws)
    alone = [between(float(value), column, level) for value, column in zip(values, draws.T, strict=True)]
    if not len(known):
        return alone, alone
    middle = np.median(known, axis=0)
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail], axis=0)
    least = np.maximum((high - low) / 4, 1e-12)  # one side of a figure at its bound has no width to measure by
    below, above = np.maximum(middle - low, least), np.maximum(high - middle, least)
    off = known - middle
    farthest = np.where(off > 0, off / above, -off / below).max(axis=1)
    factor = max(1.0, float(np.quantile(farthest, level)))
    wide = [
        Interval(one.value, min(one.low, float(m - factor * b)), max(one.high, float(m + factor * a)))
        for one, m, b, a in zip(alone, middle, below, above, strict=True)
    ]
    return alone, wide


def _pairs(names: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    if against is None:
        return list(combinations(names, 2))
    return [(name, against) for name in names if name != against]
