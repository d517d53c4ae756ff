"""What every backbone is and returns: features, and the grids and cells that its tokens stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Features:
    """What every backbone returns. A registered pytree, so it passes through compile and export.

    tokens (B, N, D): final patch tokens. grid (h, w). prefix (B, K, D): final prefix tokens, K may be 0.
    pyramid: feature maps (B, C_i, H/s_i, W/s_i), fine to coarse, or None when not asked for.
    """

    tokens: Tensor
    grid: tuple[int, int]
    prefix: Tensor
    pyramid: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class CellMap:
    """Where tokens stand on a grid of cells: a sparse, row-stochastic map.

    grid: (h, w) of the cells, in raster order.  cells (W, T, M) int64: the cells that each token of each window stands
    for, -1 where there are fewer than M.  shares (W, T, M) float32: how the token divides among them, summing to 1; all
    0 for a token that is padding and stands nowhere. W is 1 where there are no windows.
    """

    grid: tuple[int, int]
    cells: Tensor
    shares: Tensor

    def dense(self) -> Tensor:
        """(W, T, h * w) float32: row-stochastic but for padding, whose rows are 0."""
        places = self.grid[0] * self.grid[1]
        laid = self.shares.new_zeros(*self.cells.shape[:2], places + 1)
        return laid.scatter_add(2, self.cells % (places + 1), self.shares)[..., :-1]  # -1 falls into the last column

    def padding(self) -> Tensor:
        """(W, T) bool: tokens that stand nowhere."""
        return self.shares.sum(dim=-1) == 0

    def tokens_per_cell(self) -> Tensor:
        """(h * w,) int64: how many tokens stand on each cell; 0 is unseen, 2 and more an overlap."""
        seen = self.cells[self.shares > 0]
        return seen.bincount(minlength=self.grid[0] * self.grid[1])

    def is_partition(self) -> bool:
        """Whether every cell belongs to just one token: nothing unseen, nothing counted twice."""
        return bool((self.tokens_per_cell() == 1).all())


@dataclass(frozen=True)
class Stage:
    """A run of blocks on one grid.

    grid: (h, w) of its tokens.  prefix: leading tokens that stand nowhere on it.  entry: its tokens over the cells of
    the stage before, None for the first, whose tokens come from pixels.  merge: the module that makes its tokens of
    those of the stage before, or a list of such; of the first, what stands between the stem and the blocks. None where
    nothing does, or a block.
    """

    blocks: tuple[nn.Module, ...]
    grid: tuple[int, int]
    prefix: int = 0
    entry: CellMap | None = None
    merge: nn.Module | None = None


@runtime_checkable
class Backbone(Protocol):
    """What a family's `nn.Module` offers; heads, training and explanation read only this.

    Attributes
    ----------
    width: D of the tokens it returns.  prefix_names: the K prefix tokens in order, e.g. ("cls", "register").
    image_size: (H, W) it is set to.  in_channels: C.  strides, channels: of the pyramid, fine to coarse; a map at
    stride s is (B, C_i, ceil(H / s), ceil(W / s)).
    """

    width: int
    prefix_names: tuple[str, ...]
    image_size: tuple[int, int]
    in_channels: int
    strides: tuple[int, ...]
    channels: tuple[int, ...]

    def __call__(self, images: Tensor, pyramid: bool = False) -> Features:
        """(B, C, H, W) -> Features."""

    def stem(self) -> nn.Module:
        """The module that turns pixels into tokens."""

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder blocks, in order."""

    def stages(self) -> Sequence[Stage]:
        """The same blocks by the grid they work on, at the image size that is set."""

    def undecayed(self) -> Iterator[nn.Parameter]:
        """Parameters that weight decay must not touch beyond biases and norms: tokens, positions."""

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Accept images of (H, W) from now on, resizing positions; UsageError where the patch does not divide."""


@runtime_checkable
class Measured(Protocol):
    """A backbone that computes something else at another image size unless its config says by what it measures."""

    def measures(self) -> Mapping[str, Any]:
        """Fields of its config that keep what it computes."""
