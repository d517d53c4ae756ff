"""Attention inside shifted windows of a token grid (Swin, arXiv 2103.14030, section 3.2).

The grid is cut into windows and tokens see only their own window. Every second block shifts the cut by half a window,
so that neighbours across the old borders meet. The shift rolls the grid, which brings far ends together in one window;
what the window does not divide is padded at the bottom and right. A mask keeps both apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.contracts import CellMap
from vitrail.layers.attention import AttentionLayout, ScaledDotProduct
from vitrail.layers.cells import window_cells

FAR = -100.0
"""Added to the score of two tokens that only the roll brought together: the value of the official code, and not -inf,
because published weights were trained with it and a sharp head of the second generation reaches beyond it."""


@dataclass(frozen=True)
class Windows:
    """How one grid is cut. W windows of T = size[0] * size[1] tokens each.

    grid: (h, w).  size: (rows, columns) of a window, at most the grid's.  shift: (down, right), how far the cut moves.
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    shift: tuple[int, int]

    @classmethod
    def over(cls, grid: tuple[int, int], window: int, shifted: bool) -> Windows:
        """Windows of `window` cells a side, clamped to the grid; a side that one window spans is not shifted."""
        height, width = grid
        shift = window // 2 if shifted else 0
        return cls(
            grid,
            (min(window, height), min(window, width)),
            (shift if height > window else 0, shift if width > window else 0),
        )

    @property
    def across(self) -> tuple[int, int]:
        """Windows in a column and in a row."""
        return -(-self.grid[0] // self.size[0]), -(-self.grid[1] // self.size[1])

    @property
    def padded(self) -> tuple[int, int]:
        """The grid with its padding."""
        return self.across[0] * self.size[0], self.across[1] * self.size[1]

    @property
    def masked(self) -> bool:
        """Whether some window holds tokens that are no neighbours, or padding."""
        return any(self.shift) or self.padded != self.grid

    def rolled(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> the map (B, h', w', D): padded, then rolled up and left."""
        (height, width), (down, right) = self.grid, self.shift
        maps = tokens.reshape(len(tokens), height, width, -1)  # (B, h, w, D)
        if self.padded != self.grid:
            maps = F.pad(maps, (0, 0, 0, self.padded[1] - width, 0, self.padded[0] - height))  # (B, h', w', D)
        return maps.roll((-down, -right), (1, 2)) if down or right else maps

    def split(self, maps: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values on the map, (B, h', w', 3D) -> each (B, W * A, T, d), window by window.

        Windows and heads share a dimension so that the bias and the mask, (1, W * A, T, T), serve the whole batch.
        """
        (rows, columns), (high, wide) = self.across, self.size
        cut = maps.reshape(len(maps), rows, high, columns, wide, 3, heads, -1)
        q, k, v = cut.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, len(maps), rows * columns * heads, high * wide, -1)
        return q, k, v

    def joined(self, windows: Tensor, heads: int) -> Tensor:
        """The way back: (B, W * A, T, d) -> (B, N, D), without the padding."""
        (rows, columns), (high, wide) = self.across, self.size
        (height, width), (down, right) = self.grid, self.shift
        cut = windows.reshape(len(windows), rows, columns, heads, high, wide, -1)
        maps = cut.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(windows), *self.padded, -1)  # (B, h', w', D)
        if down or right:
            maps = maps.roll((down, right), (1, 2))
        return maps[:, :height, :width].flatten(1, 2)  # (B, N, D)

    def cells(self) -> CellMap:
        """Where the tokens of the windows stand."""
        return window_cells(self.grid, self.size, self.shift)

    def mask(self) -> Tensor | None:
        """What is added to the scores, (W, 1, T, T) float32; None where all tokens of a window are neighbours.

        shift 2, window 4, a column of 8:  rolled  2 3 4 5 | 6 7 0 1
                                           group   0 0 0 0 | 0 0 1 1    6 and 7 do not see 0 and 1

        Real tokens never see padding (-inf). Padding sees something, so that its softmax stays finite; nobody reads it.
        """
        if not self.masked:
            return None
        padding = self.cells().padding()  # (W, T)
        groups = torch.zeros(self.padded, dtype=torch.int64)
        groups[self.padded[0] - self.shift[0] :] += 1
        groups[:, self.padded[1] - self.shift[1] :] += 2
        (rows, columns), (high, wide) = self.across, self.size
        cut = groups.reshape(rows, high, columns, wide).transpose(1, 2).reshape(rows * columns, high * wide)  # (W, T)
        mask = (cut[:, :, None] != cut[:, None, :]) * FAR  # (W, T, T)
        mask = mask.masked_fill(padding[:, None, :] & ~padding[:, :, None], float("-inf"))
        return mask[:, None]

    def offsets(self, reach: tuple[int, int]) -> Tensor:
        """(T, T) int64: for query and key, the row of a table of all offsets between cells fewer than `reach` apart.

        The table has (2 reach[0] - 1)(2 reach[1] - 1) rows; the middle one is the offset (0, 0). A window smaller than
        the table was made for uses its middle.
        """
        (high, wide), (down, right) = self.size, reach
        y, x = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        dy, dx = (place.flatten()[:, None] - place.flatten()[None, :] for place in (y, x))  # query - key, (T, T)
        return (dy + down - 1) * (2 * right - 1) + dx + right - 1


@runtime_checkable
class OnGrid(Protocol):
    """A module that works on one grid and can be set to another."""

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Work on (h, w) from now on."""


class WindowedAttention(nn.Module):
    """What attention in windows needs besides its weights: the cut, the mask, and a bias for each offset.

    grid: (h, w) of the stage.  window: cells a side.  shifted: whether the cut is moved by half a window.
    """

    index: Tensor  # (T, T)
    mask: Tensor | None  # (W, 1, T, T)

    def __init__(self, heads: int, grid: tuple[int, int], window: int, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = heads, window, shifted
        self.core = ScaledDotProduct()
        self.windows = Windows.over(grid, window, shifted)
        self.allot(torch.empty(0))

    def reach(self) -> tuple[int, int]:
        """Offsets in the table are smaller than this, a side."""
        return self.window, self.window

    def bias(self, table: Tensor) -> Tensor:
        """A value per offset and head, (offsets, A) -> with the mask, (1, W * A, T, T)."""
        relative = table[self.index].permute(2, 0, 1)[None]  # (1, A, T, T)
        if self.mask is None:
            rows, columns = self.windows.across
            return relative.expand(rows * columns, -1, -1, -1).flatten(0, 1)[None]  # (1, W * A, T, T)
        return (relative + self.mask).flatten(0, 1)[None]  # (1, W * A, T, T)

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """The windows of a grid of (h, w), queries and keys alike."""
        cells = Windows.over(grid, self.window, self.shifted).cells()
        return AttentionLayout(grid, windows=len(cells.cells), queries=cells, keys=cells)

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Cut (h, w) from now on; the table of offsets stays as it is."""
        self.windows = Windows.over(grid, self.window, self.shifted)
        self.allot(next(self.parameters()))
        self.fill_buffers()

    def fill_buffers(self) -> None:
        """Write the index of offsets and the mask, on the default device if they had no memory."""
        if self.index.is_meta:
            self.allot(torch.empty(0, dtype=next(self.parameters()).dtype, device=torch.get_default_device()))
        self.index.copy_(self.windows.offsets(self.reach()))
        if self.mask is not None:
            mask = self.windows.mask()
            assert mask is not None, "there is memory for a mask where there is a mask"
            self.mask.copy_(mask)

    def allot(self, like: Tensor) -> None:
        """Memory for the buffers of this cut, on the device of `like`; what is a float has its dtype."""
        tokens = self.windows.size[0] * self.windows.size[1]
        rows, columns = self.windows.across
        index = torch.empty(tokens, tokens, dtype=torch.int64, device=like.device)
        self.register_buffer("index", index, persistent=False)
        mask = like.new_empty(rows * columns, 1, tokens, tokens) if self.windows.masked else None
        self.register_buffer("mask", mask, persistent=False)
