"""An operation: an affine map for each image of a batch, bilinear between pixels, as Pillow's `Image.transform` has it.

Places are whole numbers of 2^-17 pixels and weights of 2^-16, so that every sum is exact, on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 16
"""Of a map's coefficients, whose 1 is strengths.MAP_ONE."""
_FRACTION = 8
"""Bits of a place between two pixels."""


def transform(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """(R, C, H, W) float32 of whole numbers -> the same, each image by its own map.

    settings (R, 6) int64: a, b, c, d, e, f, see `strengths`.  fill (C,): the colour of what lies outside of an image.
    """
    height, width = images.shape[2:]
    # twice the place of a pixel's centre is a whole number, hence 2^-17
    down = 2 * torch.arange(height, device=images.device)[:, None] + 1  # (H, 1)
    across = 2 * torch.arange(width, device=images.device) + 1  # (W,)
    a, b, c, d, e, f = (column[:, None, None] for column in settings[:, :6].unbind(dim=1))
    left, right, part_x, inside_x = _between(a * across + b * down + 2 * c, width)
    above, below, part_y, inside_y = _between(d * across + e * down + 2 * f, height)
    planes = images.flatten(2)  # (R, C, H W)

    def at(row: Tensor, column: Tensor) -> Tensor:
        places = (row * width + column).flatten(1)[:, None].expand(-1, planes.shape[1], -1)
        return planes.gather(2, places).view_as(images)

    upper = at(above, left) * (256 - part_x) + at(above, right) * part_x
    lower = at(below, left) * (256 - part_x) + at(below, right) * part_x
    values = (upper * (256 - part_y) + lower * part_y).mul_(2.0**-16).floor_()
    return torch.where((inside_x & inside_y)[:, None], values, fill[:, None, None])


def _between(places: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places (R, H, W) int64 of 2^-17 along an axis -> the pixels on either side, the share of the second in 256ths
    (R, 1, H, W) float32, and whether the place is inside of the image."""
    one = _BITS + 1
    inside = (places >= 0) & (places < length << one)
    places = (places - (1 << _BITS) + (1 << (_BITS - _FRACTION))) >> (one - _FRACTION)  # from centres on, in 256ths
    first = places >> _FRACTION
    part = (places & ((1 << _FRACTION) - 1)).to(torch.float32)[:, None]
    return first.clamp(0, length - 1), (first + 1).clamp(0, length - 1), part, inside
