"""What stands where a part of an image is hidden. No choice is neutral, so curves are drawn with two.

A hole is itself something to see (Hooker et al. 2019, arXiv 1806.10758). What is blurred keeps its colours and has no
edge; the mean colour hides everything, and has edges of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

BLUR = 0.1
"""Standard deviation of the blur, as a share of the image's shorter side: an object of a twentieth of the image is no
more than a spot."""


def blurred(images: Tensor) -> Tensor:
    """(B, C, H, W) -> the same under a Gaussian; beyond its edges the image is continued by its mirror image."""
    deviation = BLUR * min(images.shape[2:])
    rows, columns = (_gaussian(length, deviation).to(images) for length in images.shape[2:])  # (H, H), (W, W)
    return torch.einsum("yh,bchw,xw->bcyx", rows, images, columns)


def mean_colour(images: Tensor) -> Tensor:
    """(B, C, H, W) -> each image's own mean colour everywhere."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


BASELINES: Mapping[str, Callable[[Tensor], Tensor]] = {"blur": blurred, "mean": mean_colour}
"""Name -> what hides an image whole."""


def _gaussian(length: int, deviation: float) -> Tensor:
    """(length, length) weights, rows summing to 1, with the mirror images of the line on both its sides folded in."""
    places = torch.arange(length, dtype=torch.float64)
    period = 2 * length
    around = -(-int(6 * deviation) // period)
    weights = torch.zeros(length, length, dtype=torch.float64)
    for turn in range(-around, around + 1):
        for mirrored in (places, period - 1 - places):
            away = places[:, None] - (mirrored + turn * period)[None, :]
            weights += torch.exp(-(away**2) / (2 * deviation**2))
    return weights / weights.sum(dim=1, keepdim=True)
