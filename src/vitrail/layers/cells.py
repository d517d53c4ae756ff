"""Which cells of a grid a token stands for, after windows, convolutions and pooling have had their way.

Convolutions and pools are laid out as averages: a token stands for the cells in its reach in equal parts. What is said
here is who reaches whom, not with which learned weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.contracts import CellMap


def window_cells(grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int] = (0, 0)) -> CellMap:
    """Tokens of windows (h, w) cut from a grid padded at the bottom and right, then rolled up and left by `shift`.

    0  1  2 | 3          grid 4 x 4, window 3: padded to 6 x 6 with P;
    4  5  6 | 7  P  P    4 windows of 9 tokens; P stands nowhere
    """
    height, width = (-(-side // w) * w for side, w in zip(grid, window, strict=True))
    places = torch.full((height, width), -1)
    places[: grid[0], : grid[1]] = torch.arange(grid[0] * grid[1]).reshape(grid)
    places = places.roll((-shift[0], -shift[1]), (0, 1))
    cut = places.reshape(height // window[0], window[0], width // window[1], window[1])
    cells = cut.transpose(1, 2).flatten(0, 1).flatten(1)[..., None]  # (W, T, 1)
    return CellMap(grid, cells, (cells >= 0).float())


def kernel_cells(grid: tuple[int, int], kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> CellMap:
    """Tokens of a square convolution: each stands for the cells under its kernel, in equal parts, those in the padding
    left out. At kernel = stride remainders at the bottom and right are unseen; at kernel > stride tokens overlap.

    A side shorter than the kernel holds one token. ceil: the grid is padded at the bottom and right until no
    remainder is left.
    """
    rows, columns = (_reach(side, kernel, stride, padding, ceil) for side in grid)
    return _product(grid, rows, columns)


def pooled_cells(grid: tuple[int, int], bins: tuple[int, int]) -> CellMap:
    """Tokens of adaptive average pooling to `bins` (h, w): bin i takes cells floor(i n / b) to ceil((i + 1) n / b).

    Neighbouring bins overlap where they do not divide the grid.
    """
    rows, columns = (
        [range(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]
        for side, count in zip(grid, bins, strict=True)
    )
    return _product(grid, rows, columns)


def _reach(side: int, kernel: int, stride: int, padding: int, ceil: bool) -> list[range]:
    beyond = side + 2 * padding - kernel
    count = max(1, (-(-beyond // stride) if ceil else beyond // stride) + 1)
    starts = [i * stride - padding for i in range(count)]
    return [range(max(0, start), min(side, start + kernel)) for start in starts]


def _product(grid: tuple[int, int], rows: list[range], columns: list[range]) -> CellMap:
    """One token for each pair of a range of rows and a range of columns, in raster order."""
    listed = [torch.tensor([r * grid[1] + c for r in down for c in across]) for down in rows for across in columns]
    cells: Tensor = torch.nn.utils.rnn.pad_sequence(listed, batch_first=True, padding_value=-1)[None]  # (1, T, M)
    held = (cells >= 0).float()
    return CellMap(grid, cells, held / held.sum(dim=-1, keepdim=True))
