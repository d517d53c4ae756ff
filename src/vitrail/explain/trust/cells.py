"""Maps on a grid of cells: the parts of an image that are hidden or shown whole, and the order in which they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitrail.seeding import generator

MOST = 16
"""Cells along a side: 256 in all tell maps apart, and the first of them are small beside any object."""

EQUAL = 6
"""Decimals, of the largest value's size, to which cells are told apart: what differs by less, rounding leaves."""

Grid = tuple[int, int]


def scoring_grid(first: Grid) -> Grid:
    """The grid that maps are scored on: that of a model's first tokens, halved while a side has more than MOST cells.

    A cell is then a patch of a ViT at its own size, and a whole number of patches elsewhere.
    """
    height, width = first
    while max(height, width) > MOST:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def pooled(maps: Tensor, grid: Grid) -> Tensor:
    """Maps (B, H, W) -> their mean over each cell, (B, h * w) float64; what is not finite counts as the least value."""
    maps = maps.double()
    known = torch.isfinite(maps)
    least = torch.where(known, maps, torch.inf).amin(dim=(1, 2), keepdim=True)
    maps = torch.where(known, maps, torch.where(torch.isfinite(least), least, 0.0))
    rows, columns = (_shares(length, count, maps) for length, count in zip(maps.shape[1:], grid, strict=True))
    return (rows @ maps @ columns.T).flatten(1)


def ranks(values: Tensor, keys: Sequence[str]) -> Tensor:
    """Values of cells (B, N) -> the place of each in the order from the highest down, (B, N) int64, 0 the highest.

    Equal cells stand in a random order that depends on the image's key alone: a map that says nothing is then worth
    what a random one is, and not what the upper left corner happens to be worth.
    """
    placed = np.empty(values.shape, np.int64)
    for row, (key, own) in enumerate(zip(keys, values.double().cpu().numpy(), strict=True)):
        shuffled = generator("equal cells", key).permutation(len(own))
        level = np.round(own / (np.abs(own).max() or 1.0), EQUAL)
        placed[row, np.lexsort((shuffled, -level))] = np.arange(len(own))
    return torch.from_numpy(placed).to(values.device)


def on_pixels(values: Tensor, grid: Grid, size: tuple[int, int]) -> Tensor:
    """A value per cell (B, h * w) -> (B, H, W): every pixel has that of its cell."""
    rows, columns = (
        _cell_of(length, count).to(values.device) for length, count in zip(size, grid, strict=True)
    )  # (H,), (W,)
    return values.reshape(len(values), *grid)[:, rows[:, None], columns[None, :]]


def _cell_of(length: int, count: int) -> Tensor:
    """The cell of each of `length` pixels, of `count` cells that are as equal as whole pixels allow."""
    return torch.arange(length) * count // length


def _shares(length: int, count: int, like: Tensor) -> Tensor:
    """(count, length): the mean over the pixels of each cell."""
    assert count <= length
    belongs = torch.nn.functional.one_hot(_cell_of(length, count), count).T.to(like)
    return belongs / belongs.sum(dim=1, keepdim=True)
