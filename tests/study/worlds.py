"""Made-up studies whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

Doubles = np.ndarray[Any, np.dtype[np.float64]]


def outcomes(
    rng: np.random.Generator, accuracies: list[float], seeds: int, images: int, seed_sd: float | Doubles = 0.1
) -> dict[str, Doubles]:
    """Models of these accuracies: right or wrong (S, n) on images that are hard for all, for a model, and for a seed.

    seed_sd: what a training moves its model by, of all or of each, where all that differs between two images has a
    spread of 1.1.
    """
    spreads = 0.8, 0.4, 0.6  # of an image; of an image for a model; of an image for a seed
    image = rng.normal(size=images) * spreads[0]
    found = {}
    for number, (accuracy, sd) in enumerate(zip(accuracies, np.broadcast_to(seed_sd, len(accuracies)), strict=True)):
        own = image + rng.normal(size=images) * spreads[1] + rng.normal(size=(seeds, images)) * spreads[2]
        total = np.sqrt(sum(spread**2 for spread in spreads) + sd**2)
        found[f"m{number}"] = (own + rng.normal(size=(seeds, 1)) * sd + ndtri(accuracy) * total > 0).astype(float)
    return found
