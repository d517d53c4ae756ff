"""What would tell where nothing can be told: how many more test images, how many more seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrail.study.statistics.differences import Better, simultaneous, verdict
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.seeds import seed_draws

FACTORS = tuple(2 ** (step / 2) for step in range(1, 13))
SEEDS = (2, 3, 4, 5, 6, 8, 10, 15, 20)


@dataclass(frozen=True)
class Needed:
    """What would tell two models apart, or equal, should their difference stay as it was seen.

    images: test images in all (groups, where those were drawn).  seeds: in all.  Each alone, with the other as it is;
    None where not even 64 times the images, or 20 seeds, would.  Both are guesses: a difference as seen may be chance.
    """

    first: str
    second: str
    images: int | None
    seeds: int | None


def needed(joint: Joint, first: str, second: str, minimal: float, better: Better = "higher") -> Needed:
    """For a pair that cannot be told apart, by the interval of this pair among all pairs of the table."""
    sign = 1.0 if better == "higher" else -1.0
    more_images = (
        round(joint.units * factor)
        for factor in FACTORS
        if joint.count * max(1, joint.folds) > 1 and _told(joint, (first, second), minimal, sign, factor, joint.count)
    )
    more_seeds = (
        count
        for count in SEEDS
        if count > joint.count and not joint.folds and _told(joint, (first, second), minimal, sign, 1.0, count)
    )
    return Needed(first, second, next(more_images, None), next(more_seeds, None))


def _told(joint: Joint, pair: tuple[str, str], minimal: float, sign: float, factor: float, seeds: int) -> bool:
    """Whether the verdict would be one with `factor` times the images and so many seeds."""
    own = joint.seeds
    if seeds != joint.count:
        known = joint.spread if joint.count > 1 else np.full(len(joint.names), np.nan)
        if np.isnan(known).any():
            return False  # of one seed, what seeds do is unknown, and so is how many would tell
        own = seed_draws(joint.names, known, joint.explained, seeds, len(joint.draws))
    centre = np.median(joint.images, axis=0)
    drawn = (centre + (joint.images - centre) / np.sqrt(factor) + own) * sign
    names = joint.names
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    asked = tuple(sorted((joint.index(pair[0]), joint.index(pair[1]))))
    values = joint.values * sign
    left, right = zip(*pairs, strict=True)
    _, together = simultaneous(values[list(left)] - values[list(right)], drawn[:, list(left)] - drawn[:, list(right)])
    return verdict(together[pairs.index((asked[0], asked[1]))], minimal, 2) != "cannot tell"
