"""A part of every image of a batch, stretched to one size: Pillow's anti-aliased resampling as two matrix products.

Weights are whole numbers of 2^-15, as Pillow's are of 2^-22: with pixels of 8 bits no partial sum exceeds 24, so that
float32 holds every one exactly, and the order in which a device adds them up cannot matter. (That needs products in
float32 and not in TensorFloat-32, which torch does not use unless it is told to.)
"""

from __future__ import annotations

import torch
from torch import Tensor

_ONE = 2.0**15
"""The weights of a pixel sum to about this."""

_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


def resample(images: Tensor, boxes: Tensor, mirrored: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), both float32 of whole numbers from 0 to 255.

    boxes (B, 4) float32: top, left, height, width of the part that is stretched onto size (H, W); nothing around it is
    seen.  mirrored (B,) bool: which are turned left to right.  interpolation: "bilinear" (a triangle) or "bicubic".
    """
    top, left, height, width = boxes.unbind(dim=1)
    columns = weights(left, width, images.shape[3], size[1], interpolation, mirrored)
    rows = weights(top, height, images.shape[2], size[0], interpolation)
    narrowed = torch.bmm(images.flatten(1, 2), columns.transpose(1, 2))  # (B, C h, W)
    narrowed = _whole(narrowed).view(*images.shape[:3], size[1])  # (B, C, h, W)
    return _whole(rows[:, None] @ narrowed)  # (B, C, H, W)


def weights(
    low: Tensor, extent: Tensor, length: int, count: int, interpolation: str, mirrored: Tensor | None = None
) -> Tensor:
    """(B, count, length) float32: how much each of `length` pixels has in each of `count` that cover part of them.

    low, extent (B,) float32: where the part begins and how long it is, in pixels.
    """
    device = low.device
    places = torch.arange(count, dtype=torch.float32, device=device) + 0.5
    if mirrored is not None:
        places = torch.where(mirrored[:, None], count - places, places)  # (B, count)
    scale = extent / count
    centres = low[:, None] + places * scale[:, None]  # (B, count)
    pixels = torch.arange(length, dtype=torch.float32, device=device) + 0.5
    # a filter as wide as the output's pixels where the image shrinks, as the input's where it grows
    away = (pixels - centres[..., None]).div_(scale.clamp(min=1.0)[:, None, None]).abs_()  # (B, count, length)
    shares = _cubic(away) if interpolation == "bicubic" else (1.0 - away)
    seen = (pixels >= low[:, None]) & (pixels <= (low + extent)[:, None])  # (B, length)
    shares = torch.where(seen[:, None] & (away < _SUPPORT[interpolation]), shares, 0.0)
    shares = shares.mul_(_ONE / 2).round_()  # whole already: their sum must not depend on its order
    total = shares.sum(dim=2, keepdim=True)
    return shares.mul_(_ONE).div_(total).round_()


def _cubic(away: Tensor) -> Tensor:
    """Keys's cubic (1981) with a = -0.5, as in Pillow."""
    near = ((away * 1.5 - 2.5) * away).mul_(away) + 1.0
    far = (((away - 5.0) * away + 8.0).mul_(away) - 4.0).mul_(-0.5)
    return torch.where(away < 1.0, near, far)


def _whole(sums: Tensor) -> Tensor:
    return sums.mul_(1 / _ONE).add_(0.5).floor_().clamp_(0.0, 255.0)
