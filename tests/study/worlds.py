"""Made-up studies whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

Doubles = np.ndarray[Any, np.dtype[np.float64]]


def outcomes(
    rng: np.random.Generator, accuracies: list[float], seeds: int, images: int, seed_sd: float = 0.1
) -> dict[str, Doubles]:
    """Models of these accuracies: right or wrong (S, n) on images that are hard for all, for a model, and for a seed.

    seed_sd: what a training moves its model by, where all that differs between two images has a spread of 1.1.
    """
    spreads = 0.8, 0.4, 0.6  # of an image; of an image for a model; of an image for a seed
    total = np.sqrt(sum(spread**2 for spread in spreads) + seed_sd**2)
    image = rng.normal(size=images) * spreads[0]
    found = {}
    for number, accuracy in enumerate(accuracies):
        own = image + rng.normal(size=images) * spreads[1] + rng.normal(size=(seeds, images)) * spreads[2]
        found[f"m{number}"] = (own + rng.normal(size=(seeds, 1)) * seed_sd + ndtri(accuracy) * total > 0).astype(float)
    return found
