"""Samples of a store, augmented as their keys say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vitrail.contracts import Batch, Failure
from vitrail.data.batched.store import ImageStore
from vitrail.data.batched.transform import BatchTransform
from vitrail.data.batched.whole import Draws, Integers
from vitrail.data.transfer import to_device
from vitrail.settings import Config


class BatchedSamples:
    """Makes the batch of a request: images and targets on the store's device, all else on the host."""

    def __init__(self, store: ImageStore, config: Config, dense: bool) -> None:
        self._store, self._dense, self._seed = store, dense, config.data_seed
        self._transform = BatchTransform(config, store.pixels.device)

    def batch(self, positions: Integers, indices: Integers, keys: Sequence[tuple[int, ...]]) -> Batch:
        """positions, indices (B,): see Batch.  keys: (data seed, epoch, place in the epoch) of each sample's draws."""
        store = self._store
        rows = store.rows(indices)
        _, epochs, places = np.array([(0, *key[1:]) for key in keys], np.int64).T
        draws = Draws(self._seed, epochs, places)
        there = to_device(rows, store.pixels.device)
        where = self._transform.places(draws, store.sizes[rows])
        bottom, right = (where.boxes[:, :2] + where.boxes[:, 2:]).max(axis=0)  # what none of these crops sees stays
        images = self._transform.images(store.pixels[:, :, :bottom, :right][there], where, draws)
        if self._dense:
            targets = self._transform.values(store.targets[..., :bottom, :right][there], where)
        else:
            targets = store.targets[there]
        failed = [row for row in rows.tolist() if row in store.reasons]
        if failed:
            lost = to_device(np.flatnonzero(np.isin(rows, failed)), images.device)
            images.index_fill_(0, lost, 0.0)
        return Batch(
            images=images,
            targets=targets.to(store.target_type),
            weights=store.weights[torch.from_numpy(rows)],  # on the host, which must know without asking who failed
            positions=torch.from_numpy(positions),
            indices=torch.from_numpy(indices),
            keys=tuple(store.keys[row] for row in rows),
            failures=tuple(Failure(store.keys[row], store.reasons[row]) for row in failed),
        )
