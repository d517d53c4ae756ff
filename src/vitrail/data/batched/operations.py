"""The device's half of an operation on a batch: pixels only, each image with settings of its own.

They do what Pillow does of one image: the values are Pillow's own, or a grey level from them where Pillow computes with
fractions. Pixels are (R, C, H, W) float32, whole numbers from 0 to 255, C 1 or 3; settings (R, S) int64 are those of
`strengths`; fill (C,) is the colour of what lies outside of an image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.batched.strengths import BLUR_SUM, FACTOR_ONE

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images, settings and fill -> images."""


def identity(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """As they are."""
    return images


# ------------------------------------------------------------------------------------- what blends with a duller image


def brightness(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Blended with black."""
    return _blend(images, torch.zeros_like(images[:, :1]), settings)


def saturation(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Blended with grey; grey images are as they were."""
    return images if images.shape[1] == 1 else _blend(images, luma(images), settings)


def contrast(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Blended with the mean grey."""
    pixels = images.shape[2] * images.shape[3]
    total = luma(images).to(torch.int64).sum(dim=(2, 3), keepdim=True)  # whole numbers, whose order cannot matter
    mean = torch.div(2 * total + pixels, 2 * pixels, rounding_mode="floor")  # rounded
    return _blend(images, mean.to(images.dtype), settings)


def sharpness(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Blended with a smoother image, each pixel five parts itself and one each neighbour; edges stay as they are."""
    if min(images.shape[2:]) < 3:
        return images
    across = images[..., :-2] + images[..., 1:-1] + images[..., 2:]
    block = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]
    inner = images[..., 1:-1, 1:-1]
    smooth = (block + 4 * inner).div_(13).add_(0.5).floor_()
    sharpened = images.clone()
    sharpened[..., 1:-1, 1:-1] = _blend(inner, smooth, settings)
    return sharpened


def luma(images: Tensor) -> Tensor:
    """(R, C, H, W) -> (R, 1, H, W): ITU-R 601 luma, rounded."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return (red * 19595 + green * 38470 + blue * 7471 + 32768).mul_(2.0**-16).floor_()


def _blend(images: Tensor, duller: Tensor, settings: Tensor) -> Tensor:
    own = _column(settings, 0)
    return (images * own + duller * (FACTOR_ONE - own)).mul_(1 / FACTOR_ONE).floor_().clamp_(0.0, 255.0)


# ------------------------------------------------------------------------------------------ what maps value to value


def posterize(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Down to the next step."""
    step = _column(settings, 0)
    return (images / step).floor_().mul_(step)  # a power of two: exact


def solarize(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Inverted from a least value on."""
    return torch.where(images >= _column(settings, 0), 255.0 - images, images)


def autocontrast(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Each channel stretched over 0 to 255, unless it has one value only."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    spread = high - low
    # a quotient of such whole numbers that is not whole is further from a whole one than float32's step
    stretched = (images - low).mul_(255.0).div_(spread.clamp(min=1.0)).floor_()
    return torch.where(spread > 0, stretched, images)


def equalize(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Each channel's values spread evenly over 0 to 255, by Pillow's own table."""
    values = images.flatten(2).to(torch.int64)  # (R, C, H W)
    counts = values.new_zeros(*values.shape[:2], 256)
    counts.scatter_add_(2, values, values.new_ones(1).expand_as(values))
    last = counts.gather(2, values.amax(dim=2, keepdim=True))
    step = torch.div(values.shape[2] - last, 255, rounding_mode="floor")  # (R, C, 1)
    before = counts.cumsum(dim=2) - counts + torch.div(step, 2, rounding_mode="floor")
    table = torch.div(before, step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    levelled = table.gather(2, values).view_as(images).to(images.dtype)
    return torch.where((step > 0)[..., None], levelled, images)


def grey(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """Each channel the luma."""
    return luma(images).expand_as(images)


# -------------------------------------------------------------------------------------------------- what smears pixels


def blur(images: Tensor, settings: Tensor, fill: Tensor) -> Tensor:
    """A Gaussian along rows, then columns; beyond an edge its pixels go on."""
    reach = settings.shape[1] - 1
    for axis, sides in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        wide, length = F.pad(images, sides, mode="replicate"), images.shape[axis]
        sums = images * _column(settings, 0)
        for away in range(1, reach + 1):
            pair = wide.narrow(axis, reach - away, length) + wide.narrow(axis, reach + away, length)
            sums += pair * _column(settings, away)
        images = sums.mul_(1 / BLUR_SUM).add_(0.5).floor_()
    return images


def _column(settings: Tensor, number: int) -> Tensor:
    """(R, 1, 1, 1) float32."""
    return settings[:, number].to(torch.float32)[:, None, None, None]
