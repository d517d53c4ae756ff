"""Attention to fewer keys than queries: the parts that PVT (arXiv 2102.12122) and PVT v2 (arXiv 2106.13797) share.

A map of tokens asks, a smaller map made of it answers: every query is kept, so the output has the grid of the input,
while keys and values come from the map after a strided convolution (spatial reduction, SRA) or after pooling to a fixed
number of bins (linear SRA).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.contracts import CellMap
from vitrail.layers.attention import AttentionLayout, ScaledDotProduct
from vitrail.layers.block import Activation, DropPath, activate
from vitrail.layers.cells import kernel_cells, pooled_cells
from vitrail.layers.initialise import Draw, constant, normal

Grid = tuple[int, int]
Convolution = Callable[..., nn.Conv2d]
"""The class of a family's convolutions: they differ in how they begin."""

BINS = (7, 7)
"""What linear SRA pools every map to (PVT v2)."""


class FanOutConv2d(nn.Conv2d):
    """A convolution that begins as Normal(0, sqrt(2 / fan_out)) with bias 0 (arXiv 1502.01852), as PVT v2's do."""

    def initialisers(self) -> Mapping[str, Draw]:
        fan_out = math.prod(self.kernel_size) * self.out_channels // self.groups
        return {"weight": normal(math.sqrt(2 / fan_out)), "bias": constant(0.0)}


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (B, N, D) on a grid -> the map (B, D, h, w)."""
    across = tokens.transpose(1, 2)  # (B, D, N)
    return across.reshape(*across.shape[:2], *grid)


def as_tokens(maps: Tensor) -> Tensor:
    """A map (B, D, h, w) -> its tokens in raster order (B, N, D)."""
    return maps.flatten(2).transpose(1, 2)


class ReducedAttention(nn.Module):
    """Multi-head attention of all tokens to a reduced map: (B, K + N, D) on a grid (h, w) -> (B, K + N, D).

    ratio: R, side of the square of cells that becomes one key; 1 reduces nothing, and only then may there be `prefix`
    tokens, which have no place on a map. pooled: linear SRA, 7 x 7 keys whatever the grid, instead of `ratio`.
    eps: of the LayerNorm after the reduction.  convolution: the class of the reducing convolution.

    Rows and columns that R does not divide are dropped, as the published weights expect; a side shorter than R is
    padded with zeros to R, so that one key is left and the kernel's first weights are used as they are. PVT, equations
    1 to 4.
    """

    def __init__(
        self, width: int, heads: int, ratio: int, *, eps: float, convolution: Convolution, prefix: int = 0,
        pooled: bool = False, activation: Activation = "gelu",
    ) -> None:  # fmt: skip
        super().__init__()
        assert width % heads == 0, "the config checks this"
        assert not prefix or (ratio == 1 and not pooled), "the config checks this"
        self.heads, self.prefix, self.activation = heads, prefix, activation
        self.pooled, self.ratio = pooled, 1 if pooled else ratio
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        reduces = pooled or ratio > 1
        self.sr = convolution(width, width, kernel_size=self.ratio, stride=self.ratio) if reduces else None
        self.norm = nn.LayerNorm(width, eps=eps) if reduces else None
        self.core = ScaledDotProduct()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, A, T, d)
        reduced = self._reduce(x, grid)  # (B, T_k, D)
        k, v = self.kv(reduced).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, A, T_k, d)
        y = self.core(q, k, v, None)  # (B, A, T, d)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))  # (B, T, D)
        return out

    def _reduce(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, T, D) -> the tokens that keys and values are made of, (B, T_k, D)."""
        if self.sr is None or self.norm is None:
            return x
        maps = as_map(x, grid)  # (B, D, h, w)
        if self.pooled:
            maps = self.sr(F.adaptive_avg_pool2d(maps, BINS))  # (B, D, 7, 7)
            return activate(self.norm(as_tokens(maps)), self.activation)  # (B, 49, D)
        below, right = (max(0, self.ratio - side) for side in grid)
        if below or right:
            maps = F.pad(maps, (0, right, 0, below))
        out: Tensor = self.norm(as_tokens(self.sr(maps)))  # (B, max(1, h // R) * max(1, w // R), D)
        return out

    def layout(self, grid: Grid) -> AttentionLayout:
        """A query for each cell; a key for each square of R x R cells, or for each of the bins, which may overlap."""
        keys = None
        if self.pooled:
            keys = pooled_cells(grid, BINS)
        elif self.ratio > 1:
            keys = kernel_cells(grid, self.ratio, self.ratio)
        return AttentionLayout(grid, self.prefix, self.prefix, keys=keys)


class ReducedBlock(nn.Module):
    """x + SRA(LN(x)), then x + MLP(LN(x)): (B, T, D) on a grid -> (B, T, D)."""

    def __init__(self, width: int, attn: ReducedAttention, mlp: nn.Module, *, eps: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = attn
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid))  # (B, T, D)
        out: Tensor = x + self.drop_path(self.feed_forward(self.norm2(x), grid))  # (B, T, D)
        return out

    def feed_forward(self, x: Tensor, grid: Grid) -> Tensor:
        """The MLP, which looks at each token alone; a family whose MLP looks around passes the grid on."""
        out: Tensor = self.mlp(x)
        return out


class ReducingEmbed(nn.Module):
    """A map made coarser, as normalised tokens: (B, C, H, W) -> (B, N, D), N = ceil(H / s) * ceil(W / s).

    overlap: False has the kernel s x s (PVT); what s does not divide is padded with zeros at the bottom and right, so
    that no row or column is lost. True has the kernel 2s - 1 with padding s - 1 (PVT v2), which sees all.
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, *, overlap: bool, eps: float, convolution: Convolution
    ) -> None:
        super().__init__()
        self.stride, self.overlap = stride, overlap
        self.kernel, self.padding = (2 * stride - 1, stride - 1) if overlap else (stride, 0)
        self.proj = convolution(in_channels, width, kernel_size=self.kernel, stride=stride, padding=self.padding)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, maps: Tensor) -> Tensor:
        below, right = (-side % self.stride for side in maps.shape[2:])
        if not self.overlap and (below or right):
            maps = F.pad(maps, (0, right, 0, below))
        out: Tensor = self.norm(as_tokens(self.proj(maps)))  # (B, N, D)
        return out

    def cells(self, grid: Grid) -> CellMap:
        """Which cells of the map before, of (h, w), each token is made of."""
        return kernel_cells(grid, self.kernel, self.stride, self.padding, ceil=not self.overlap)
