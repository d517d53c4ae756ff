"""What is random about a training image: crop, flip, RandAugment and erasing, by torchvision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from vitrail.contracts import Pixels
from vitrail.data.preprocess import Preprocessor
from vitrail.seeding import derive_seed
from vitrail.settings import AugmentConfig, Config

_FILTERS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}

_IMAGES = {1: (slice(0, 1),), 3: (slice(0, 3),), 4: (slice(0, 3), slice(3, 4))}
"""Number of channels -> the grey or RGB images they are augmented as."""


class TrainTransform:
    """A pure function of (pixels, key): the key seeds every draw, and the caller's generator is left as it was.

    In this order: a random crop resized to the model's size (Szegedy et al. 2015), or the evaluation's own geometry
    where augment.crop_scale is (1, 1); a mirror image every other time; RandAugment (Cubuk et al. 2020), filling with
    the mean colour; the evaluation's normalisation; random erasing (Zhong et al. 2020) to the mean colour.

    RandAugment's colour operations act on a grey image (C = 1) as on a brightness. Of four channels the first three
    go as RGB, and the fourth goes through the same draws as a grey image.
    """

    def __init__(self, config: Config) -> None:
        self._preprocessor = Preprocessor.from_config(config)
        self._whole = config.augment.crop_scale == (1, 1)
        self._operations = [
            (image, _operations(config.augment, self._preprocessor, list(self._preprocessor.mean_colour[image])))
            for image in _IMAGES[self._preprocessor.channels]
        ]
        self._erase = v2.RandomErasing(config.augment.erase, value=0)  # 0 is the mean, once normalised

    def __call__(self, pixels: Pixels, key: tuple[int, ...]) -> Tensor:
        """(h, w, C) uint8 -> (C, H, W) float32, normalised."""
        if self._whole:
            pixels = self._preprocessor.fit(pixels)
        with seeded(derive_seed("augment", *key)) as restart:
            varied = []
            for image, operations in self._operations:
                restart()
                picture: Image.Image = operations(_picture(pixels[..., image]))
                varied.append(np.asarray(picture))
            tensor = torch.from_numpy(self._preprocessor.normalise(np.dstack(varied)))
            erased: Tensor = self._erase(tensor)
        return erased


def _operations(augment: AugmentConfig, preprocessor: Preprocessor, fill: list[int]) -> v2.Transform:
    """The operations on uint8 pixels, on a PIL image with as many bands as `fill` has values."""
    chosen: list[v2.Transform] = []
    if augment.crop_scale != (1, 1):
        chosen.append(
            v2.RandomResizedCrop(
                list(preprocessor.size), augment.crop_scale, augment.crop_ratio, _FILTERS[preprocessor.interpolation]
            )
        )
    if augment.flip:
        chosen.append(v2.RandomHorizontalFlip())
    if augment.randaugment_ops:
        chosen.append(
            v2.RandAugment(
                augment.randaugment_ops,
                augment.randaugment_magnitude,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=fill,
            )
        )
    return v2.Compose(chosen or [v2.Identity()])


def _picture(pixels: Pixels) -> Image.Image:
    """(h, w, 1 or 3) uint8 as a grey or RGB image: Pillow's resampling is the fastest there is on a CPU."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


@contextmanager
def seeded(seed: int) -> Iterator[Callable[[], object]]:
    """Run with torch's global CPU generator seeded, and put it back; yields what starts the draws anew.

    torch.manual_seed would reseed every GPU as well, which nothing here draws from.
    """
    state = torch.get_rng_state()
    try:
        yield lambda: torch.default_generator.manual_seed(seed)
    finally:
        torch.set_rng_state(state)
