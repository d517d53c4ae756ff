"""What is random about a batch of training images: `TrainTransform` and `JointTransform` for all of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitrail.data.batched.changes import changes_of
from vitrail.data.batched.fit import crops_of
from vitrail.data.batched.rectangles import crops, erasures
from vitrail.data.batched.resample import resample
from vitrail.data.batched.whole import Bools, Draws, Integers
from vitrail.data.preprocess import Preprocessor
from vitrail.data.transfer import to_device
from vitrail.settings import Config


@dataclass(frozen=True)
class Places:
    """Where the images of a batch are cut out, (B, 4) top, left, height, width, and which are mirrored, (B,)."""

    boxes: Integers
    mirrored: Bools


class BatchTransform:
    """A pure function of (pixels, draws), on the pixels' device; draws are made on the host.

    In this order: a random crop resized to the model's size, unless augment.crop_scale is (1, 1) and pixels already
    have it; a mirror image every other time; RandAugment; ThreeAugment; jitter; the evaluation's normalisation; random
    erasing to the mean. Operations and distributions are those of `TrainTransform`; the draws are others.
    """

    def __init__(self, config: Config, device: torch.device | str) -> None:
        self._preprocessor = Preprocessor.from_config(config)
        self._augment = config.augment
        self._crops = crops_of(config)
        self._changes = changes_of(config.augment, config.data.channels)
        self._fill = to_device(np.asarray(self._preprocessor.mean_colour, np.float32), device)
        scale, shift = self._preprocessor.scale_and_shift()
        everywhere = np.ones((config.data.channels, 1, 1), np.float32)
        self._scale = to_device(scale[:, None, None] * everywhere, device)
        self._shift = to_device(shift[:, None, None] * everywhere, device)

    def places(self, draws: Draws, sizes: Integers) -> Places:
        """Where images of sizes (B, 2), height and width, are cut and which are mirrored."""
        if self._crops:
            boxes = crops(draws, sizes, self._augment.crop_scale, self._augment.crop_ratio)
        else:
            boxes = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
        mirrored = draws.uniform("flip", 1)[:, 0] < (0.5 if self._augment.flip else 0.0)
        return Places(boxes, mirrored)

    def images(self, pixels: Tensor, places: Places, draws: Draws) -> Tensor:
        """(B, C, h, w) uint8 -> (B, C, H, W) float32, normalised."""
        size, device = self._preprocessor.size, pixels.device
        images = pixels.to(torch.float32)
        mirrored = to_device(places.mirrored, device)
        if self._crops:
            boxes = to_device(places.boxes.astype(np.float32), device)
            images = resample(images, boxes, mirrored, size, self._preprocessor.interpolation)
        elif places.mirrored.any():
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        for change in self._changes:
            for layer in change.layers(draws, size):
                images = layer(images, self._fill)
        images = images * self._scale + self._shift  # rounded twice, as the evaluation's is
        if self._augment.erase:
            _erase(images, to_device(erasures(draws, size, self._augment.erase), device))
        return images

    def values(self, values: Tensor, places: Places) -> Tensor:
        """Targets with a value per pixel (B, ..., h, w) -> (B, ..., H, W): each pixel has that of the one under it."""
        height, width = self._preprocessor.size
        top, left, tall, wide = places.boxes.T[..., None]  # (B, 1) each
        rows = top + ((np.arange(height) + 0.5) * tall / height).astype(np.int64)  # (B, H)
        columns = left + ((np.arange(width) + 0.5) * wide / width).astype(np.int64)  # (B, W)
        columns = np.where(places.mirrored[:, None], columns[:, ::-1], columns)
        flat = to_device(rows[:, :, None] * values.shape[-1] + columns[:, None, :], values.device).flatten(
            1
        )  # (B, H W)
        planes = values.reshape(len(values), -1, values.shape[-2] * values.shape[-1])  # (B, M, h w)
        found = planes.gather(2, flat[:, None].expand(-1, planes.shape[1], -1))
        return found.view(*values.shape[:-2], height, width)


def _erase(images: Tensor, boxes: Tensor) -> None:
    """Set a rectangle of each image to 0, the mean; boxes (B, 4) top, left, height, width."""
    top, left, tall, wide = boxes[:, :, None].unbind(dim=1)  # (B, 1) each
    y, x = (torch.arange(length, device=images.device) for length in images.shape[2:])
    rows, columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
