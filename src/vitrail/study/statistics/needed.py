"""What would tell where nothing can be told: how many more test images, how many more seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vitrail.study.statistics.differences import Better, compare
from vitrail.study.statistics.intervals import whole
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.seeds import seed_draws

Number = TypeVar("Number", int, float)

FACTORS = tuple(2 ** (step / 2) for step in range(1, 13))
SEEDS = (2, 3, 4, 5, 6, 8, 10, 15, 20)


@dataclass(frozen=True)
class Needed:
    """What would tell two models apart, or equal, should their difference stay as it was seen.

    images: test images in all (groups, where those were drawn).  seeds: in all.  Each alone, with the other as it is;
    None where not even 64 times the images, or 20 seeds, would.  both: so many of the two together, where neither alone
    would do.  All are guesses: a difference as seen may be chance.
    """

    first: str
    second: str
    images: int | None
    seeds: int | None
    both: tuple[int, int] | None = None


def needed(joint: Joint, first: str, second: str, minimal: float, better: Better = "higher") -> Needed:
    """For a pair that cannot be told apart, by the interval of this pair among all pairs of the table."""
    pair = first, second

    def told(factor: float, count: int) -> bool:
        return _told(joint, pair, minimal, better, factor, count)

    trained = joint.count * max(1, joint.folds) > 1
    counts = [count for count in SEEDS if count > joint.count and not joint.folds]
    factor = _first(FACTORS, lambda factor: told(factor, joint.count)) if trained else None
    seeds = _first(counts, lambda count: told(1.0, count))
    images, both = round(joint.units * factor) if factor else None, None
    if factor is None and seeds is None:
        together = _first(counts, lambda count: told(count / joint.count, count))
        both = (round(joint.units * together / joint.count), together) if together else None
    return Needed(first, second, images, seeds, both)


def _first(options: Sequence[Number], told: Callable[[Number], bool]) -> Number | None:
    """The least of ascending options that would tell, if the greatest does: more never tells less."""
    if not options or not told(options[-1]):
        return None
    low, high = -1, len(options) - 1  # low does not tell, high does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if told(options[middle]) else (middle, high)
    return options[high]


def _told(
    joint: Joint, pair: tuple[str, str], minimal: float, better: Better, factor: float, seeds: int
) -> bool:  # fmt: skip
    """Whether the verdict would be one with `factor` times the images and so many seeds."""
    own, known = joint.seeds, whole(joint.images)  # a draw may lack a class, and a metric with it
    if not len(known):
        return False
    if seeds != joint.count:
        if joint.count < 2 or np.isnan(joint.spread).any():
            return False  # of one seed, what seeds do is unknown, and so is how many would tell
        own = seed_draws(joint.names, joint.spread, joint.explained, seeds, len(joint.draws))
    centre = np.median(known, axis=0)
    images = centre + (joint.images - centre) / np.sqrt(factor)
    compared = compare(replace(joint, images=images, seeds=own, count=seeds), minimal, better)
    return any({c.first, c.second} == set(pair) and c.verdict != "cannot tell" for c in compared)
