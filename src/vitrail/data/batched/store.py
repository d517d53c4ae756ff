"""The images of a split as one tensor on the device, decoded once, with their targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch

from vitrail.contracts import DenseTargets, Pixels, Source, Targets
from vitrail.data.batched.fit import crops_of, kept_size, refuse_if_unfit
from vitrail.data.batched.whole import Integers
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sizes import misfit
from vitrail.data.workers import Pipeline
from vitrail.errors import BadImage, UsageError
from vitrail.settings import Config

Values = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]
"""Told how many images of how many have been read."""

_CHUNK = 64
"""Images that are read at once."""


class ImageStore:
    """Images of `indices` of a source, and what belongs to them, by row: the place among the distinct indices.

    pixels (n, C, h, w) uint8 on the device: images that differ in size stand in the upper left of a frame that holds
    all of them.  sizes (n, 2): the height and width of each.  targets: the task's, on the device, (n, ...); of a task
    with a value per pixel as large as the images, in the smallest type that holds them: target_type is their own.
    weights (n,) float32 on the host: 0 where an image or its target cannot be read.  reasons: row -> why.

    Where crops are random, images are kept as large as the smallest of crops needs to show as many pixels as the model
    takes, and no larger; else as they are evaluated. Raises UsageError where they take more than data.cache_mb, or than
    half of the memory that is free on a GPU.
    """

    def __init__(
        self, source: Source, indices: Sequence[int] | Integers, targets: Targets, config: Config,
        device: torch.device | str, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        refuse_if_unfit(config)
        self._indices = np.unique(np.asarray(indices, np.int64))
        count = len(self._indices)
        items = [source.items[int(i)] for i in self._indices]
        self.keys = tuple(item.key for item in items)
        self.weights = torch.tensor([item.weight for item in items], dtype=torch.float32)
        self.reasons: dict[int, str] = {}
        self.sizes = np.ones((count, 2), np.int64)
        limit = _limit(config, device)
        reading = _Reading(source, targets, config)
        kept: list[Pixels | None] = []
        values: list[Values] = []
        for number, (pixels, value, reason) in enumerate(_read(reading, self._indices, config.data.workers)):
            kept.append(pixels)
            values.append(value)
            if pixels is None:
                self.reasons[number] = reason
                self.weights[number] = 0
            else:
                self.sizes[number] = pixels.shape[:2]
            frame = self.sizes.max(axis=0)
            each = int(frame.prod()) * (config.data.channels + value.itemsize * math.prod(value.shape[:-2]))
            if each * count > limit:
                raise UsageError(_too_large(each * count, count, config))
            if progress is not None:
                progress(number + 1, count)
        height, width = (int(side) for side in self.sizes.max(axis=0))
        laid = np.zeros((count, config.data.channels, height, width), np.uint8)
        for row, pixels in enumerate(kept):
            if pixels is not None:
                laid[row, :, : pixels.shape[0], : pixels.shape[1]] = pixels.transpose(2, 0, 1)
        self.pixels = torch.from_numpy(laid).to(device)
        if targets.dense:
            dense = cast(DenseTargets, targets)
            encoded = [_framed(value, (height, width), dense) for value in values]
            self.target_type = targets.collate([dense.blank((1, 1))]).dtype
        else:
            encoded = [targets.encode(item.target) for item in items]
            self.target_type = targets.collate(encoded[:1]).dtype
        self.targets = targets.collate(encoded).to(device)

    def rows(self, indices: Integers) -> Integers:
        """Where the samples of a source stand here, (B,)."""
        return np.searchsorted(self._indices, indices)


class _Reading:
    """Reads images and their values, at the size they are kept at, in whatever process."""

    def __init__(self, source: Source, targets: Targets, config: Config) -> None:
        self._source, self._targets, self._config = source, targets, config
        self._preprocessor = Preprocessor.from_config(config)

    def __call__(self, indices: Integers) -> list[tuple[Pixels | None, Values, str]]:
        """Each image (h, w, C), its target's values where it has any per pixel, and why there is none."""
        return [self._sample(int(index)) for index in indices]

    def _sample(self, index: int) -> tuple[Pixels | None, Values, str]:
        try:
            pixels = self._source.read(index, self._config.data.channels)
            values = self._blank(pixels.shape[:2])
            if self._targets.dense:
                values = self._targets.encode(self._source.items[index].target)
                if apart := misfit(values.shape[-2:], pixels.shape[:2]):
                    raise BadImage(f"its target: {apart}")
        except BadImage as error:
            return None, _compact(self._blank((1, 1))), error.reason
        fit = self._preprocessor
        if crops_of(self._config):
            size = kept_size(pixels.shape[0], pixels.shape[1], self._config)
            fit = fit.model_copy(update={"size": size, "resize": "squash"})
        return fit.fit(pixels), _compact(fit.fit_values(values, self._blank(fit.size))), ""

    def _blank(self, size: tuple[int, int]) -> Values:
        """(..., h, w) of nothing known; of no values where targets have none per pixel."""
        if self._targets.dense:
            return cast(DenseTargets, self._targets).blank(size)
        return np.zeros((0, *size), np.uint8)


def _read(reading: _Reading, indices: Integers, workers: int) -> Iterator[tuple[Pixels | None, Values, str]]:
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    pipeline = Pipeline(reading, lambda: iter(chunks), workers)
    try:
        for answers in pipeline:
            yield from answers
    finally:
        pipeline.close()


def _compact(values: Values) -> Values:
    """Whole numbers in the smallest type that holds them: they are read as what they were."""
    if values.size and values.dtype.kind in "iu":
        least, most = int(values.min()), int(values.max())
        for kind in (np.uint8, np.int16, np.int32):
            if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
                return values.astype(kind)
    return values


def _framed(values: Values, frame: tuple[int, int], targets: DenseTargets) -> Values:
    """Values in the upper left of a frame of which the rest is not known."""
    if values.shape[-2:] == frame:
        return values
    whole = targets.blank(frame).copy()
    whole[..., : values.shape[-2], : values.shape[-1]] = values
    return _compact(whole)


def _limit(config: Config, device: torch.device | str) -> int:
    """Bytes."""
    limit = config.data.cache_mb * 2**20
    if torch.device(device).type == "cuda":
        limit = min(limit, torch.cuda.mem_get_info(device)[0] // 2)
    return limit


def _too_large(size: int, count: int, config: Config) -> str:
    return (
        f"data.batched=true keeps all {count} training images on the device: they take {size / 2**20:.0f} MB, more than"
        f" data.cache_mb={config.data.cache_mb} or half of the device's free memory.\nRaise data.cache_mb, or set"
        " data.batched=false"
    )
