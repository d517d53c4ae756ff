"""Which sample stands at a position of the endless training order: a pure function of the data seed.

Without repeats, position p is sample epoch_order(data_seed, p // n, n)[p % n] of a split of n. With R repeats
(repeated augmentation, Hoffer et al., arXiv 1901.09335) each sample stands R times in a row: position p is draw p // R,
and draws are laid end to end as positions were. An epoch is still n positions, of n / R different samples. The key of a
position's random draws knows nothing of repeats, so every copy has an augmentation of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitrail.seeding import generator

Indices = np.ndarray[Any, np.dtype[np.int64]]


def epoch_order(data_seed: int, epoch: int, length: int) -> Indices:
    """The order of an epoch's samples: a permutation of range(length), a pure function of its arguments."""
    return generator("order", data_seed, epoch).permutation(length)


class Order:
    """The endless order of `length` samples, each standing `repeats` times in a row. It keeps the last permutation."""

    def __init__(self, data_seed: int, length: int, repeats: int = 1) -> None:
        assert length > 0
        assert repeats > 0
        self.data_seed, self.length, self.repeats = data_seed, length, repeats
        self._epoch, self._permutation = -1, np.zeros(0, np.int64)

    def samples(self, positions: Indices) -> Indices:
        """Ascending positions -> rows of the split, both (B,)."""
        draws = positions // self.repeats
        epochs = draws // self.length
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            if epoch != self._epoch:
                self._epoch, self._permutation = int(epoch), epoch_order(self.data_seed, int(epoch), self.length)
            here = epochs == epoch
            rows[here] = self._permutation[draws[here] % self.length]
        return rows

    def key(self, position: int) -> tuple[int, int, int]:
        """What the random draws at a position depend on: data seed, epoch, and place in it."""
        return self.data_seed, position // self.length, position % self.length
