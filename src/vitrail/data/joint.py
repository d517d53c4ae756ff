"""What is random about a training image whose target has a value per pixel: both go through the same geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from vitrail.contracts import Pixels
from vitrail.data.augment import seeded
from vitrail.data.preprocess import Preprocessor
from vitrail.seeding import derive_seed
from vitrail.settings import Config

Values = np.ndarray[Any, Any]

ZOOM = (0.75, 1.33)
"""With resize=tile, how much smaller or larger than it is an image is shown; its own scale is in the middle."""

_FILTERS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}


class JointTransform:
    """A pure function of (pixels, values, key): the key seeds every draw, and the caller's generator is left as it was.

    In this order: a random crop resized to the model's size, with resize=tile a window at about the image's own scale,
    or the evaluation's own geometry where augment.crop_scale is (1, 1); a mirror image every other time; changes of
    brightness, contrast and saturation; the evaluation's normalisation. Values are never mixed: each pixel has that of
    the pixel under its centre, and what lies outside of the image is `blank`.
    """

    def __init__(self, config: Config) -> None:
        self._preprocessor = Preprocessor.from_config(config)
        augment, size = config.augment, list(self._preprocessor.size)
        self._tile = config.preprocess.resize == "tile"
        self._whole = augment.crop_scale == (1, 1) and not self._tile
        geometry: list[v2.Transform] = []
        if not self._whole and not self._tile:
            filtering = _FILTERS[self._preprocessor.interpolation]
            geometry.append(v2.RandomResizedCrop(size, augment.crop_scale, augment.crop_ratio, filtering))
        if augment.flip:
            geometry.append(v2.RandomHorizontalFlip())
        self._geometry = v2.Compose(geometry or [v2.Identity()])
        strength = augment.jitter
        colours = self._preprocessor.channels == 3
        self._colours = v2.ColorJitter(strength, strength, strength if colours else 0.0) if strength else v2.Identity()

    def __call__(self, pixels: Pixels, values: Values, blank: Values, key: tuple[int, ...]) -> tuple[Tensor, Values]:
        """(h, w, C) uint8 and (..., h, w) -> (C, H, W) float32, normalised, and (..., H, W).

        blank: (..., H, W), what is known of a pixel outside of the image.
        """
        with seeded(derive_seed("augment", *key)) as restart:
            restart()
            if self._whole:
                pixels, values = self._preprocessor.fit(pixels), self._preprocessor.fit_values(values, blank)
            elif self._tile:
                pixels, values = self._window(pixels, values, blank)
            shown = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
            planes = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(values.reshape(-1, *values.shape[-2:]))))
            shown, planes = self._geometry(shown, planes)
            varied = self._jittered(shown)
        image = torch.from_numpy(self._preprocessor.normalise(varied.numpy().transpose(1, 2, 0)))
        return image, planes.numpy().reshape(*values.shape[:-2], *planes.shape[-2:])

    def _jittered(self, image: Tensor) -> Tensor:
        if image.shape[0] != 4:
            out: Tensor = self._colours(image)
            return out
        return torch.cat([self._colours(image[:3]), image[3:]])  # an alpha has no colour

    def _window(self, pixels: Pixels, values: Values, blank: Values) -> tuple[Pixels, Values]:
        """A window of the model's size, zoomed a little, anywhere in the image."""
        height, width = self._preprocessor.size
        low, high = np.log(ZOOM)
        zoom = float(np.exp(low + (high - low) * float(torch.rand(()))))
        tall, wide = max(1, round(height / zoom)), max(1, round(width / zoom))
        top = int(float(torch.rand(())) * (max(0, pixels.shape[0] - tall) + 1))
        left = int(float(torch.rand(())) * (max(0, pixels.shape[1] - wide) + 1))
        cut = pixels[top : top + tall, left : left + wide]
        part = values[..., top : top + tall, left : left + wide]
        # a part of the window where the image ends: the rest is padding, as it is when evaluating
        inner = (max(1, round(cut.shape[0] * height / tall)), max(1, round(cut.shape[1] * width / wide)))
        stretch = self._preprocessor.model_copy(update={"size": inner, "resize": "squash"})
        pad = self._preprocessor
        shown = pad.fit(stretch.fit(np.ascontiguousarray(cut)))
        known = stretch.fit_values(part, np.empty((*part.shape[:-2], *inner), part.dtype))
        return shown, pad.fit_values(known, blank)
