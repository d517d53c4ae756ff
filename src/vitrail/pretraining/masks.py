"""Which squares of an image are hidden: a pure function of (data seed, epoch, place in the epoch).

The mask travels as one more channel behind the image's own, 1 where pixels are hidden: what fills images in takes an
image and its mask, and the loops of training and evaluation are those of every other model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Backbone, Batch, Source, Targets
from vitrail.data.batched.store import ImageStore
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.data.preprocess import Preprocessor
from vitrail.data.transfer import to_device
from vitrail.seeding import generator
from vitrail.settings import Config

Indices = Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]

FEWEST = 4
"""Squares a side that an image should at least be cut into."""


@dataclass(frozen=True)
class Masking:
    """`hidden` of the squares of `unit` pixels that an image of `size` (H, W) is cut into; the last of a row or column
    may be cut off. seed: the data seed."""

    size: tuple[int, int]
    unit: int
    hidden: int
    seed: int

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the squares."""
        return -(-self.size[0] // self.unit), -(-self.size[1] // self.unit)

    @property
    def units(self) -> int:
        """How many squares there are."""
        return self.grid[0] * self.grid[1]

    def draw(self, *key: int | str) -> Tensor:
        """(1, H, W) float32, 1 where a pixel is hidden: the mask of the key."""
        chosen = np.zeros(self.units, np.float32)
        chosen[generator("mask", self.seed, *key).permutation(self.units)[: self.hidden]] = 1
        squares = chosen.reshape(self.grid).repeat(self.unit, axis=0).repeat(self.unit, axis=1)
        return torch.from_numpy(squares[None, : self.size[0], : self.size[1]].copy())

    def over(self, batch: Batch, keys: Sequence[tuple[int | str, ...]]) -> Batch:
        """The batch with the mask of each sample's key behind its channels, (B, C + 1, H, W)."""
        masks = to_device(torch.stack([self.draw(*key) for key in keys]), batch.images.device)
        return replace(batch, images=torch.cat([batch.images, masks], dim=1))


def masking_of(backbone: Backbone, config: Config) -> Masking:
    """The masking of a run's complete config; without `pretrain.mask_unit` squares are the backbone's patches.

    At least two squares stay visible and one is hidden, whatever the ratio.
    """
    size = backbone.image_size
    unit = config.pretrain.mask_unit or size[0] // backbone.stages()[0].grid[0]
    whole = Masking(size, unit, 1, config.data_seed)
    hidden = min(max(1, round(config.pretrain.mask_ratio * whole.units)), whole.units - 2)
    return replace(whole, hidden=hidden)


def unit_for(size: tuple[int, int], coarsest: int) -> int:
    """Side of a hidden square, in pixels: the coarsest stride of a backbone, or that halved until FEWEST fit a side."""
    unit = coarsest
    while unit > 1 and min(size) < FEWEST * unit:
        unit //= 2
    return unit


class MaskedTrainLoader(TrainLoader):
    """Training batches whose images have their masks behind them; each time an image comes it has another."""

    def __init__(
        self, source: Source, indices: Indices, targets: Targets, config: Config, first: int, last: int,
        masking: Masking, device: str = "cpu", store: ImageStore | None = None,
    ) -> None:  # fmt: skip
        super().__init__(source, indices, targets, config, first, last, device, store)
        self._length, self._masking = len(indices), masking

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            positions = batch.positions.tolist()
            yield self._masking.over(batch, [(p // self._length, p % self._length) for p in positions])


class MaskedEvalLoader(EvalLoader):
    """Batches of a split whose images have their masks behind them: the same masks every time."""

    def __init__(
        self, source: Source, indices: Indices, targets: Targets, preprocessor: Preprocessor, batch_size: int,
        workers: int, masking: Masking,
    ) -> None:  # fmt: skip
        super().__init__(source, indices, targets, preprocessor, batch_size, workers)
        self._masking = masking

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            yield self._masking.over(batch, [("held out", p) for p in batch.positions.tolist()])
