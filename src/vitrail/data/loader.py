"""Batches for training and for evaluation: the same bits whatever the number of workers and wherever one starts.

A training sample is a pure function of its position p in the endless order (`data.order`), augmented by the key
(data_seed, p // n, p % n). A sample that cannot be read keeps its place, with weight 0 and an image of zeros, and is
named in the batch's failures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Batch, DenseTargets, Failure, Item, Pixels, Source, Targets
from vitrail.data.augment import TrainTransform
from vitrail.data.batched.samples import BatchedSamples
from vitrail.data.batched.store import ImageStore
from vitrail.data.cache import CachedSource
from vitrail.data.joint import JointTransform
from vitrail.data.order import Order
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sizes import misfit
from vitrail.data.workers import Pipeline
from vitrail.errors import BadImage
from vitrail.settings import Config

Indices = np.ndarray[Any, np.dtype[np.int64]]

Transform = Callable[[Pixels, tuple[int, ...]], Tensor]
"""A decoded image and the key of its draws -> (C, H, W) float32."""

Values = np.ndarray[Any, Any]
Joint = Callable[[Pixels, Values, Values, tuple[int, ...]], tuple[Tensor, Values]]
"""A decoded image, its target's values, a blank, and the key of their draws -> (C, H, W) float32, (..., H, W)."""


@dataclass(frozen=True)
class _Request:
    """The samples of a batch. keys: of their random draws, one per sample; empty when nothing is random."""

    positions: Indices
    indices: Indices
    keys: tuple[tuple[int, ...], ...] = ()


class _Loader:
    """What both loaders are: an iterable of batches with workers to be ended."""

    _pipeline: Pipeline[_Request, Batch]

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._pipeline)

    def close(self) -> None:
        """End the workers; iterating again starts new ones."""
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TrainLoader(_Loader):
    """Training batches of positions [first_position, last_position) of the endless order, augmented, not mixed.

    Each holds batch_size / accumulate samples, also across the end of an epoch; the range must be a multiple of that.
    Nothing before first_position is read. With workers = 0 and cache_mb, decoded images are kept in this process where
    they all fit; give a CachedSource to keep them for longer than this loader, or 0 to keep none.

    With data.batched, images are kept on `device` and augmented there, in batches; what is random has the same
    distribution, but draws of its own. Give an ImageStore to keep them for longer than this loader. Images and targets
    then come on that device, weights on the host; workers only read the images, once.
    """

    def __init__(
        self, source: Source, split_indices: Sequence[int] | Indices, targets: Targets, config: Config,
        first_position: int, last_position: int, device: str = "cpu", store: ImageStore | None = None,
    ) -> None:  # fmt: skip
        self._indices = np.asarray(split_indices, dtype=np.int64)
        self._order = Order(config.data_seed, len(self._indices), config.augment.repeats)
        self._size = config.train.batch_size // config.train.accumulate
        self._first, self._last = first_position, last_position
        assert 0 <= first_position <= last_position
        assert (last_position - first_position) % self._size == 0
        if not (config.data.workers or config.data.batched or isinstance(source, CachedSource)):
            source = CachedSource(source, config.data.cache_mb)
        zeros = (config.data.channels, config.model.image_size, config.model.image_size)
        work: _Work | _DenseWork | _BatchedWork
        if config.data.batched:
            store = store or ImageStore(source, self._indices, targets, config, device)
            work = _BatchedWork(BatchedSamples(store, config, targets.dense))
        elif targets.dense:
            work = _DenseWork(source, cast(DenseTargets, targets), JointTransform(config), zeros)
        else:
            work = _Work(source, targets, TrainTransform(config), config.data.channels, zeros)
        self._pipeline = Pipeline(work, self._requests, 0 if config.data.batched else config.data.workers)

    def __len__(self) -> int:
        return (self._last - self._first) // self._size

    def _requests(self) -> Iterator[_Request]:
        for start in range(self._first, self._last, self._size):
            positions = np.arange(start, start + self._size, dtype=np.int64)
            keys = tuple(self._order.key(int(p)) for p in positions)
            yield _Request(positions, self._indices[self._order.samples(positions)], keys)


class EvalLoader(_Loader):
    """Batches of a split in its order, preprocessed; the last one may be short. Positions are places in the split.

    targets: None where there is nothing to compare with; the batch's targets are then (B, 0).
    """

    def __init__(
        self, source: Source, indices: Sequence[int] | Indices, targets: Targets | None, preprocessor: Preprocessor,
        batch_size: int, workers: int = 0,
    ) -> None:  # fmt: skip
        self._indices = np.asarray(indices, dtype=np.int64)
        self._size = batch_size
        zeros = (preprocessor.channels, *preprocessor.size)
        work: _Work | _DenseWork
        if targets is not None and targets.dense:
            work = _DenseWork(source, cast(DenseTargets, targets), partial(_preprocess_both, preprocessor), zeros)
        else:
            work = _Work(source, targets, partial(_preprocess, preprocessor), preprocessor.channels, zeros)
        if preprocessor.resize == "tile":
            self._size = 1  # images keep their sizes, so no two need fit in one batch
        self._pipeline = Pipeline(work, self._requests, workers)

    def __len__(self) -> int:
        return -(-len(self._indices) // self._size)

    def _requests(self) -> Iterator[_Request]:
        for start in range(0, len(self._indices), self._size):
            indices = self._indices[start : start + self._size]
            yield _Request(np.arange(start, start + len(indices), dtype=np.int64), indices)


class _Work:
    """Turns a request into its batch, in whatever process. shape: of an image, (C, H, W)."""

    def __init__(
        self, source: Source, targets: Targets | None, transform: Transform, channels: int, shape: tuple[int, int, int]
    ) -> None:
        self._source, self._targets, self._transform = source, targets, transform
        self._channels, self._shape = channels, shape

    def __call__(self, request: _Request) -> Batch:
        count = len(request.indices)
        items = [self._source.items[int(i)] for i in request.indices]
        images, weights = torch.zeros((count, *self._shape)), _weights(items, request)
        failures = []
        for row, (index, item) in enumerate(zip(request.indices, items, strict=True)):
            try:
                pixels = self._source.read(int(index), self._channels)
            except BadImage as error:
                weights[row] = 0
                failures.append(Failure(item.key, error.reason))
            else:
                images[row] = self._transform(pixels, request.keys[row] if request.keys else ())
        if self._targets is None:
            targets = torch.zeros((count, 0))
        else:
            targets = self._targets.collate([self._targets.encode(item.target) for item in items])
        return Batch(
            images=images,
            targets=targets,
            weights=weights,
            positions=torch.from_numpy(request.positions),
            indices=torch.from_numpy(request.indices),
            keys=tuple(item.key for item in items),
            failures=tuple(failures),
        )


class _DenseWork:
    """Turns a request into its batch where targets have a value per pixel. shape: of an image, (C, H, W).

    A target that cannot be read fails its sample, as an image does: weight 0, named, of nothing known.
    """

    def __init__(self, source: Source, targets: DenseTargets, joint: Joint, shape: tuple[int, int, int]) -> None:
        self._source, self._targets, self._joint, self._shape = source, targets, joint, shape

    def __call__(self, request: _Request) -> Batch:
        items = [self._source.items[int(i)] for i in request.indices]
        weights = _weights(items, request)
        failures, images, targets = [], [], []
        for row, (index, item) in enumerate(zip(request.indices, items, strict=True)):
            try:
                image, values = self._pair(int(index), item, request.keys[row] if request.keys else ())
            except BadImage as error:
                weights[row] = 0
                failures.append(Failure(item.key, error.reason))
                image, values = torch.zeros(self._shape), self._targets.blank(self._shape[1:])
            images.append(image)
            targets.append(values)
        return Batch(
            images=torch.stack(images),
            targets=self._targets.collate(targets),
            weights=weights,
            positions=torch.from_numpy(request.positions),
            indices=torch.from_numpy(request.indices),
            keys=tuple(item.key for item in items),
            failures=tuple(failures),
        )

    def _pair(self, index: int, item: Item, key: tuple[int, ...]) -> tuple[Tensor, Values]:
        pixels = self._source.read(index, self._shape[0])
        values: Values = self._targets.encode(item.target)
        if apart := misfit(values.shape[-2:], pixels.shape[:2]):
            raise BadImage(f"its target: {apart}")
        return self._joint(pixels, values, self._targets.blank(self._shape[1:]), key)


class _BatchedWork:
    """Turns a request into its batch, of images that are on the device."""

    def __init__(self, samples: BatchedSamples) -> None:
        self._samples = samples

    def __call__(self, request: _Request) -> Batch:
        return self._samples.batch(request.positions, request.indices, request.keys)


def _weights(items: Sequence[Item], request: _Request) -> Tensor:
    """(B,) how much each sample counts in the training loss; in evaluation each counts the same."""
    return torch.tensor([item.weight for item in items]) if request.keys else torch.ones(len(items))


def _preprocess_both(
    preprocessor: Preprocessor, pixels: Pixels, values: Values, blank: Values, key: tuple[int, ...]
) -> tuple[Tensor, Values]:
    image = torch.from_numpy(preprocessor(pixels))
    if blank.shape[-2:] != image.shape[1:]:  # with resize=tile, an image is as large as it is
        blank = np.broadcast_to(blank[..., :1, :1], (*blank.shape[:-2], *image.shape[1:]))
    return image, preprocessor.fit_values(values, blank)


def _preprocess(preprocessor: Preprocessor, pixels: Pixels, key: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(preprocessor(pixels))
