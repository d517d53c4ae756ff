"""Deletion and insertion: what becomes of the answer as the image is hidden, or shown, in the order of a map.

Petsiuk et al. 2018 (RISE, arXiv 1806.07421), section 3.4. Whole cells are hidden instead of pixels, and the first steps
are finer than the last: a good map does its work early, where an object covers but a twentieth of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vitrail.explain.trust.cells import Grid, on_pixels

STEPS = 8
"""Steps from the whole image to none of it."""
CHUNK = 64 * 224 * 224
"""Pixels that go through the model at once: 64 images of 224 pixels a side, and as many of less."""

Answer = Callable[[Tensor, Tensor], Tensor]
"""Images (n, C, H, W), and which of the images explained each was made of (n,) -> how much is left of the answer, (n,).
"""


def steps(cells: int, count: int = STEPS) -> tuple[int, ...]:
    """How many of `cells` are hidden at each step, from none to all: about cells * (i / count)^2."""
    return tuple(sorted({round(cells * (i / count) ** 2) for i in range(count + 1)}))


def area(scores: Tensor, at: Sequence[int]) -> Tensor:
    """Scores (..., S) after so many cells, `at` from 0 to all of them -> the area under their curve, (...).

    Straight between two steps; the whole range of cells is 1 long, so a score that stays at s has the area s.
    """
    places = torch.tensor(at, dtype=scores.dtype, device=scores.device) / at[-1]
    return torch.trapezoid(scores, places, dim=-1)


def curves(
    answer: Answer, images: Tensor, hidden: Tensor, order: Tensor, grid: Grid, at: Sequence[int], ends: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores of images (B, C, H, W) after each step of deletion and of insertion: twice (B, S) float64.

    hidden (B, C, H, W): what stands in the place of cells that are hidden.  order (B, N): the place of each cell, 0 the
    first to go, or to come.  ends (2, B): scores of the images whole and hidden, which every map begins or ends with.
    """
    pixels = on_pixels(order, grid, (images.shape[2], images.shape[3]))[:, None]  # (B, 1, H, W)
    inner = [(count, shown) for shown in (False, True) for count in at[1:-1]]
    jobs = [(row, count, shown) for row in range(len(images)) for count, shown in inner]
    said: list[Tensor] = []
    chunk = at_once(images, CHUNK)
    for first in range(0, len(jobs), chunk):
        chosen = jobs[first : first + chunk]
        rows = torch.tensor([row for row, _, _ in chosen], device=images.device)
        counts = torch.tensor([count for _, count, _ in chosen], device=images.device).view(-1, 1, 1, 1)
        insertion = torch.tensor([shown for _, _, shown in chosen], device=images.device).view(-1, 1, 1, 1)
        taken = pixels[rows] < counts  # (n, 1, H, W): what the map has named so far
        said.append(answer(torch.where(taken == insertion, images[rows], hidden[rows]), rows).double())
    inside = torch.cat(said).view(len(images), 2, -1) if said else ends.new_zeros(len(images), 2, 0)
    whole, blank = (end[:, None].double() for end in ends)
    deletion = torch.cat([whole, inside[:, 0], blank], dim=1)
    return deletion, torch.cat([blank, inside[:, 1], whole], dim=1)


def at_once(images: Tensor, pixels: int, most: int = 64) -> int:
    """How many images of this size (..., H, W) may go through a model at once, of so many pixels in all."""
    return max(1, min(most, pixels // (images.shape[-2] * images.shape[-1])))


def passes(at: Sequence[int], baselines: int) -> int:
    """Images that go through the model for one map of one image."""
    return 2 * (len(at) - 2) * baselines
