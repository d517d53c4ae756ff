"""A pyramid of maps from one map, without parameters: what is learned on top belongs to a head."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

FACTORS = (4, 2, 1)
"""Finer maps are so many times the token grid; one coarser map is half of it. With patch 16: strides 4, 8, 16, 32."""


def strides_of(patch: int) -> tuple[int, ...]:
    """Strides of the maps that one grid at stride `patch` can give, in whole pixels, fine to coarse."""
    return (*(patch // factor for factor in FACTORS if patch % factor == 0), 2 * patch)


def resampled(tokens: Tensor, grid: tuple[int, int], patch: int) -> tuple[Tensor, ...]:
    """Tokens (B, N, D) on a grid at stride `patch` -> maps (B, D, H / s, W / s), one for each of `strides_of(patch)`.

    Bilinear upwards, the mean of 2 x 2 downwards (an odd last row or column is averaged alone), as ViTDet
    (arXiv 2203.16527) does with learned layers.
    """
    last = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)  # (B, D, h, w)
    finer = [
        last if factor == 1 else F.interpolate(last, scale_factor=float(factor), mode="bilinear", align_corners=False)
        for factor in FACTORS
        if patch % factor == 0
    ]
    return (*finer, F.avg_pool2d(last, 2, ceil_mode=True, count_include_pad=False))
