"""What else may change the colours of a training image: RandAugment, ThreeAugment and jitter, on Pillow's images.

All of them draw from torch's global generator, as torchvision's own transforms do: the caller seeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import v2

Picture = Image.Image
Change = Callable[[Picture], Picture]
"""A grey or RGB image -> one of the same size and mode."""

STRONGEST = 30
"""Of torchvision's scale of RandAugment's magnitudes, which begins at 0."""
BLUR = (0.1, 2.0)
"""Standard deviation of ThreeAugment's blur, least and most, in pixels of an image PUBLISHED_SIDE wide."""
PUBLISHED_SIDE = 224


class RandAugment:
    """RandAugment (Cubuk et al. 2020, arXiv 1909.13719), torchvision's, filling with `fill`.

    spread: standard deviation of a normal draw around `magnitude` before each operation, rounded to torchvision's whole
    magnitudes and kept within 0 and STRONGEST, as timm's "mstd" does in tenths; 0 draws nothing.
    """

    def __init__(self, operations: int, magnitude: int, spread: float, fill: Sequence[float]) -> None:
        self._operations, self._magnitude, self._spread = operations, magnitude, spread
        levels = range(STRONGEST + 1) if spread else (magnitude,)
        bilinear = v2.InterpolationMode.BILINEAR
        self._levels = {m: v2.RandAugment(1, m, interpolation=bilinear, fill=list(fill)) for m in levels}

    def __call__(self, picture: Picture) -> Picture:
        """Some operations, one after another."""
        for _ in range(self._operations):
            picture = self._levels[self._level()](picture)
        return picture

    def _level(self) -> int:
        if not self._spread:
            return self._magnitude
        drawn = round(self._magnitude + self._spread * float(torch.randn(())))
        return min(STRONGEST, max(0, drawn))


class ThreeAugment:
    """One of three, each as often: grey, solarised at half, blurred (DeiT III, arXiv 2204.07118, section 3).

    The blur is of the published size at 224 pixels a side and in proportion at others: two pixels of 32 would be no
    blur but a ruin.
    """

    def __init__(self, side: int) -> None:
        self._radii = tuple(radius * side / PUBLISHED_SIDE for radius in BLUR)

    def __call__(self, picture: Picture) -> Picture:
        """The picture, changed in one of three ways."""
        which = int(torch.randint(3, (1,)))
        if which == 0:
            return picture.convert("L").convert(picture.mode)
        if which == 1:
            return ImageOps.solarize(picture, 128)
        least, most = self._radii
        return picture.filter(ImageFilter.GaussianBlur(least + (most - least) * float(torch.rand(()))))


class Jitter:
    """Brightness, contrast and, of a colour image, saturation, each by up to `strength`: torchvision's."""

    def __init__(self, strength: float, colours: bool) -> None:
        self._jitter = v2.ColorJitter(strength, strength, strength if colours else 0.0)

    def __call__(self, picture: Picture) -> Picture:
        """The picture in another light."""
        changed: Picture = self._jitter(picture)
        return changed
