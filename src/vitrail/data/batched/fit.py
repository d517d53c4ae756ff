"""What can be kept on the device, and at which size; without torch, for those who only decide."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from vitrail.errors import UsageError
from vitrail.settings import Config


def refuse_if_unfit(config: Config) -> None:
    """UsageError for what images on the device cannot do."""
    if config.preprocess.resize == "tile":
        raise UsageError(
            "data.batched=true keeps images at about the model's size, preprocess.resize=tile needs their own:"
            " set data.batched=false"
        )


def megabytes(kept: Iterable[tuple[int, int]], images: int, channels: int) -> float:
    """What so many images take, where each is kept at one of these sizes (height, width); targets apart."""
    frame = np.array(list(kept)).max(axis=0)
    return float(images * channels * frame.prod() / 2**20)


def kept_size(height: int, width: int, config: Config) -> tuple[int, int]:
    """The (height, width) that an image of (height, width) is kept at."""
    side = config.model.image_size
    if not crops_of(config):
        return side, side
    narrowest, widest = config.augment.crop_ratio
    smallest = math.sqrt(config.augment.crop_scale[0] * min(narrowest, 1 / widest, 1.0))  # crop's side over the image's
    share = math.ceil(side / smallest) / min(height, width)
    return (height, width) if share >= 1 else (max(1, round(height * share)), max(1, round(width * share)))


def crops_of(config: Config) -> bool:
    """Whether crops are random; else images are fitted to the model once, as in evaluation."""
    return config.augment.crop_scale != (1, 1)
