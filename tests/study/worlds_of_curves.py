"""Made-up learning curves whose law is known."""

from __future__ import annotations

import numpy as np
from worlds import Doubles

from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.seeds import seed_draws, spread

SIZES = [250, 500, 1000, 2000, 4000]


def law(sizes: list[float] | list[int], a: float, b: float, c: float, d: float = 0.0) -> Doubles:
    """a (x + d)^-b + c, where a is what the largest size leaves above c."""
    x = np.array(sizes, np.float64) + d
    return np.asarray(a * (x / x[-1]) ** -b + c)


def measured(
    rng: np.random.Generator, truth: Doubles, seeds: int = 3, seed_sd: float | Doubles = 0.005, image_sd: float = 0.01,
    resamples: int = 300, tag: str = "",
) -> Joint:  # fmt: skip
    """Errors (J,) as seeds and one test set, common to all sizes, would show them."""
    seen = truth + rng.normal() * image_sd + rng.normal(size=(seeds, len(truth))) * seed_sd
    names = tuple(f"{tag}{j}" for j in range(len(truth)))
    images = seen.mean(axis=0) + np.random.default_rng(1).normal(size=(resamples, 1)) * image_sd
    variances, none = spread(seen.T), np.zeros(len(truth))
    own = seed_draws(names, variances, none, seeds, resamples)
    return Joint(names, seen.mean(axis=0), images, own, variances, none, 500, seeds)
