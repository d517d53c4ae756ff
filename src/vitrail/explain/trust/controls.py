"""Maps that know nothing of the image: what a method must do better than.

Objects stand near the middle of photographs, so a mark at the centre looks wise on most of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.explain.trust.cells import Grid
from vitrail.seeding import generator


def random_map(key: str, grid: Grid) -> Tensor:
    """A control: uniform noise, a value per cell, (h * w,) float64; a function of the image's key alone."""
    return torch.from_numpy(generator("random map", key).random(grid[0] * grid[1]))


def centre_prior(size: tuple[int, int]) -> Tensor:
    """A control: the photographer's habit, (H, W) float64, a Gaussian whose deviation is a quarter of each side."""
    # whole numbers first, so that what is equally far from the middle is equal to the last bit
    rows, columns = ((2 * torch.arange(side) + 1 - side).double() / (2 * side) for side in size)
    return torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * 0.25**2))
