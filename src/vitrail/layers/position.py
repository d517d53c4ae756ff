"""Where a patch stands: positions that are learned, fixed, or resized to another grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 10_000.0


def sincos_2d(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed 2-D sine-cosine positions, (N, D) float32, as in "Better plain ViT baselines" (arXiv 2205.01580).

    A quarter of the width each for sin x, cos x, sin y, cos y; width must be a multiple of 4.
    """
    assert width % 4 == 0, "the config checks this"
    omega = TEMPERATURE ** -(torch.arange(width // 4, dtype=torch.float64) / max(1, width // 4 - 1))
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [position.flatten()[:, None] * omega for position in (x, y)]  # (N, D / 4) each
    return torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1).float()


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Patch positions (1, N, D) on one grid -> on another, bicubic with antialiasing, in float32.

    Antialiasing, which DeiT's resize lacks, matters only where the grid shrinks: there every old position counts.
    """
    if old == new:
        return positions
    maps = positions.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, D, h, w)
    maps = F.interpolate(maps, size=new, mode="bicubic", antialias=True)
    return maps.permute(0, 2, 3, 1).flatten(1, 2).to(positions)


def resize_bias_table(table: Tensor, rows: int) -> Tensor:
    """A bias of every relative offset, ((2w - 1)^2, A), for windows of another side: ((2w' - 1)^2, A) with `rows` rows.

    Bicubic on the square of offsets, as the official Swin does it when it loads pretrained weights.
    """
    old, new = math.isqrt(table.shape[0]), math.isqrt(rows)
    assert old**2 == table.shape[0], "offsets form a square"
    assert new**2 == rows, "offsets form a square"
    maps = table.float().T.reshape(1, -1, old, old)  # (1, A, 2w - 1, 2w - 1)
    return F.interpolate(maps, size=(new, new), mode="bicubic").flatten(2)[0].T.to(table)
