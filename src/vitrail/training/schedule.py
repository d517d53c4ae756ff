"""Where a run stands: steps, epochs and the learning rate, all pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitrail.settings import TrainConfig


@dataclass(frozen=True)
class Schedule:
    """Positions of an endless order of `images` samples, cut into steps of `batch_size`.

    Every step is full: an epoch may end inside one, and the step belongs to the epoch it ends in. Each sample is used
    once an epoch; the last step may take a few samples of one epoch more. The last epoch of 2.5 is cut after half its
    samples, and the rate has then come down all the same.
    """

    images: int
    config: TrainConfig

    @property
    def steps(self) -> int:
        """Updates in the whole run."""
        return math.ceil(self.config.epochs * self.images / self.config.batch_size)

    def epochs_done(self, step: int) -> float:
        """Epochs that ended within `step` updates: a whole number, but after the last step, if that cuts an epoch."""
        if step >= self.steps:
            return self.config.epochs
        return step * self.config.batch_size // self.images

    def ends_epoch(self, step: int) -> bool:
        """Whether the update that led to `step` completed at least one epoch, or cut the last."""
        return step > 0 and self.epochs_done(step) > self.epochs_done(step - 1)

    def lr(self, step: int) -> float:
        """Rate of update number `step` (from 0): linear warm-up, then half a cosine down to `min_lr` (DeiT)."""
        c = self.config
        warmup = min(self.steps - 1, round(c.warmup_epochs * self.images / c.batch_size))
        if step < warmup:
            return c.lr * (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, self.steps - warmup)
        floor = min(c.min_lr, c.lr)
        return floor + (c.lr - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def mixes(self, step: int, off: float) -> bool:
        """Whether update number `step` (from 0) may mix images: not where it begins in the last `off` epochs."""
        return step * self.config.batch_size < (self.config.epochs - off) * self.images
