"""The body that both generations of Swin share: four levels of windowed blocks, halving the grid between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

import torch.nn.functional as F
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from vitrail.contracts import CellMap, Features, Fit, Stage
from vitrail.errors import UsageError
from vitrail.layers.block import Activation
from vitrail.layers.cells import window_cells
from vitrail.layers.window import OnGrid
from vitrail.settings import Positive, Strict

Grid = tuple[int, int]


def _listed(value: Any) -> Any:
    """A number per level written in one word, as a command line has it: "2,2,6,2"."""
    return value.split(",") if isinstance(value, str) else value


PerLevel = Annotated[
    tuple[Annotated[int, Field(ge=1, le=512)], ...], BeforeValidator(_listed), Field(min_length=1, max_length=8)
]


class ShiftedWindowConfig(Strict):
    """What makes one model of shifted windows differ from another."""

    width: Annotated[int, Field(ge=1, le=65_536)] = 96
    """D of the first level; each further level has twice as much."""
    depths: PerLevel = (2, 2, 6, 2)
    """Blocks of each level."""
    heads: PerLevel = (3, 6, 12, 24)
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 4.0
    """Hidden width of the MLP over D."""
    window: Annotated[int, Field(ge=1, le=128)] = 7
    """Side in tokens; a smaller grid is one window."""
    patch_size: Positive = 4
    image_size: Positive | tuple[Positive, Positive] = 224
    """Pixels, one number for a square; any size will do."""
    in_channels: Positive = 3
    pooling: Literal["mean", "map", "seq"] = "mean"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth of the last block, growing linearly from 0 at the first, over all levels."""
    eps: Annotated[float, Field(gt=0)] = 1e-5
    """LayerNorm's: PyTorch's default, as in the official code."""
    activation: Activation = "gelu"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.depths) != len(self.heads):
            raise ValueError(f"depths has {len(self.depths)} levels and heads has {len(self.heads)}")
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"a level's width {width} is not a multiple of its heads {heads}")
        return self

    @property
    def size(self) -> Grid:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def widths(self) -> tuple[int, ...]:
        """D of each level."""
        return tuple(self.width << level for level in range(len(self.depths)))


class Parts(Protocol):
    """How one generation builds its blocks and what stands between two levels."""

    def block(self, level: int, grid: Grid, shifted: bool, drop_path: float) -> nn.Module:
        """(B, N, D) -> (B, N, D)."""

    def merging(self, width: int) -> nn.Module:
        """Called with tokens (B, N, D) and their grid -> (B, ceil(h/2) ceil(w/2), 2D)."""


@runtime_checkable
class Spared(Protocol):
    """A module that has parameters which weight decay must not touch."""

    def undecayed(self) -> Iterator[nn.Parameter]:
        """Those parameters."""


class PaddedPatchEmbed(nn.Module):
    """Patches of images of any size, and a norm: (B, C, H, W) -> (B, N, D), N = ceil(H / P) ceil(W / P).

    What the patch does not divide is filled with zeros at the bottom and right.
    """

    def __init__(self, patch: int, in_channels: int, width: int, eps: float) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, width, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, images: Tensor) -> Tensor:
        bottom, right = (-side % self.patch for side in images.shape[2:])
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))  # (B, C, P h, P w)
        tokens: Tensor = self.norm(self.proj(images).flatten(2).transpose(1, 2))  # (B, N, D)
        return tokens

    def grid(self, size: Grid) -> Grid:
        """(h, w) for images of (H, W); UsageError for a size that is none."""
        height, width = size
        if height <= 0 or width <= 0:
            raise UsageError(f"image size {height} x {width}: both sides must be at least one pixel")
        return -(-height // self.patch), -(-width // self.patch)


def quartets(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens of 2 x 2 cells side by side: (B, N, D) -> (B, ceil(h/2) ceil(w/2), 4D); an odd last row or column of the
    grid is completed with zeros.

    a b    the official order is a c b d: down the columns
    c d
    """
    height, width = grid
    maps = tokens.reshape(len(tokens), height, width, -1)  # (B, h, w, D)
    if height % 2 or width % 2:
        maps = F.pad(maps, (0, 0, 0, width % 2, 0, height % 2))
    cut = maps.reshape(len(maps), (height + 1) // 2, 2, (width + 1) // 2, 2, -1)  # (B, h/2, 2, w/2, 2, D)
    return cut.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)  # (B, h/2 w/2, 4D)


def quartet_cells(grid: Grid) -> CellMap:
    """Where the tokens of `quartets` stand: each for the up to four cells it was made of."""
    cells = window_cells(grid, (2, 2)).cells.permute(2, 0, 1)  # (W, 4, 1) -> (1, W, 4): a window is one token now
    held = (cells >= 0).float()
    return CellMap(grid, cells, held / held.sum(dim=-1, keepdim=True))


class Level(nn.Module):
    """Blocks on one grid, every second one shifted, after the merging that leads to it (not before the first level)."""

    def __init__(self, downsample: nn.Module | None, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, before: Grid) -> Tensor:
        """Tokens (B, N, D) of the level before, on its grid -> those of this one."""
        if self.downsample is not None:
            x = self.downsample(x, before)  # (B, N / 4, 2D)
        for block in self.blocks:
            x = block(x)
        return x


class ShiftedWindowBackbone(nn.Module):
    """Images (B, C, H, W) -> `Features` at the stride of the last level, 8 P with four of them."""

    def __init__(self, config: ShiftedWindowConfig, parts: Parts) -> None:
        super().__init__()
        c = self.config = config
        self.width, self.in_channels, self.channels = c.widths[-1], c.in_channels, c.widths
        self.prefix_names: tuple[str, ...] = ()
        self.strides = tuple(c.patch_size << level for level in range(len(c.depths)))
        self.image_size = c.size
        self.patch_embed = PaddedPatchEmbed(c.patch_size, c.in_channels, c.width, c.eps)
        self.grids = self._grids(c.size)
        last = max(1, sum(c.depths) - 1)
        self.levels = nn.ModuleList(
            Level(
                parts.merging(c.widths[level - 1]) if level else None,
                [
                    parts.block(level, self.grids[level], i % 2 == 1, c.drop_path * (sum(c.depths[:level]) + i) / last)
                    for i in range(depth)
                ],
            )
            for level, depth in enumerate(c.depths)
        )
        self.norm = nn.LayerNorm(self.width, eps=c.eps)

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        if tuple(images.shape[1:]) != (self.in_channels, *self.image_size):
            got, want = tuple(images.shape[1:]), (self.in_channels, *self.image_size)
            raise UsageError(
                f"images are {got} (C, H, W) and the model is set to {want}: set_image_size, or resize them"
            )
        x = self.patch_embed(images)  # (B, N, D)
        outputs = []
        for i, level in enumerate(self.levels):
            x = level(x, self.grids[max(0, i - 1)])  # (B, N_i, D_i)
            outputs.append(x)
        outputs[-1] = x = self.norm(x)
        maps = [out.transpose(1, 2).unflatten(2, grid) for out, grid in zip(outputs, self.grids, strict=True)]
        return Features(x, self.grids[-1], x[:, :0], tuple(maps) if pyramid else None)

    def stem(self) -> nn.Module:
        """The patch embedding with its norm."""
        return self.patch_embed

    def blocks(self) -> Sequence[nn.Module]:
        """The blocks of all levels, in order."""
        return [block for blocks in self._blocks() for block in blocks]

    def stages(self) -> Sequence[Stage]:
        """A stage a level: merging makes each token of one from 2 x 2 of the one before."""
        entries = (None, *(quartet_cells(grid) for grid in self.grids[:-1]))
        merges = (level.downsample for level in self.levels if isinstance(level, Level))
        found = zip(self._blocks(), self.grids, entries, merges, strict=True)
        return [Stage(blocks, grid, entry=entry, merge=merge) for blocks, grid, entry, merge in found]

    def undecayed(self) -> Iterator[nn.Parameter]:
        """What the attention modules say of their position biases and scales."""
        for module in self.levels.modules():
            if isinstance(module, Spared):
                yield from module.undecayed()

    def set_image_size(self, size: Grid) -> None:
        """Accept (H, W) from now on: windows are cut anew, and no parameter changes."""
        self.grids = self._grids(size)
        self.image_size = (size[0], size[1])
        for level, grid in zip(self.levels, self.grids, strict=True):
            for module in level.modules():
                if isinstance(module, OnGrid):
                    module.set_grid(grid)

    def _blocks(self) -> list[tuple[nn.Module, ...]]:
        return [tuple(level.blocks) for level in self.levels if isinstance(level, Level)]

    def _grids(self, size: Grid) -> tuple[Grid, ...]:
        """(h, w) of each level."""
        height, width = self.patch_embed.grid(size)
        return tuple((-(-height >> level), -(-width >> level)) for level in range(len(self.config.depths)))


PATCHES = (4, 2, 1)
LEAST = 14
"""Cells a side of the first grid, a quarter of the 56 that the paper has: with fewer, the third level, where most
blocks are, would have under 4."""
WINDOWS = range(4, 17)
"""From 16 tokens in a window, fewer of which have little to tell each other, to the 256 of Swin V2's Table 1."""


def fit(config: ShiftedWindowConfig, image_size: int) -> Fit:
    """The largest patch of 4, 2 and 1 that leaves 14 cells a side, and a window that divides the grids.

    The model's own window is kept where it divides them and the first grid holds at least four a side; else it is the
    one nearest to an eighth of the first grid, as 7 is at 224, that divides them; else the one that pads least.
    """
    patch = next((p for p in PATCHES if -(-image_size // p) >= LEAST), PATCHES[-1])
    first = -(-image_size // patch)
    grids = [-(-first >> level) for level in range(len(config.depths))]
    wanted = max(first / 8, WINDOWS[0])
    dividing = [w for w in WINDOWS if all(g <= w or g % w == 0 for g in grids)]
    if config.window in dividing and first >= 4 * config.window:
        window, why = config.window, "the model's own, which divides them"
    elif dividing:
        window = min(dividing, key=lambda w: abs(w - wanted))
        why = "of those that divide them the nearest to an eighth of the first"
    else:
        window = min(WINDOWS, key=lambda w: (_padding(grids, w), abs(w - wanted)))
        why = "none divides them all, and it pads them least"
    least = "the largest patch that leaves" if first >= LEAST else "no patch leaves"
    return Fit(
        {"patch_size": patch, "window": window},
        f"{image_size}/{patch} = {first} cells a side, {least} {LEAST};"
        f" window {window} for grids of {', '.join(map(str, grids))}: {why}",
    )


def _padding(grids: Sequence[int], window: int) -> float:
    """Cells of padding for each real one, summed over the levels."""
    sides = ((side, max(side, -(-side // window) * window)) for side in grids if side > window)
    return sum((padded / side) ** 2 - 1 for side, padded in sides)
