"""The images of a run once they are decoded: its trial, its teacher and itself have them in common."""

from __future__ import annotations

import json

import numpy as np

from vitrail.contracts import Source, Task
from vitrail.data.batched.store import ImageStore
from vitrail.data.cache import CachedSource
from vitrail.settings import Config
from vitrail.training.journal import Journal

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]


class KeptImages:
    """Decodes each image of a source once, whoever asks for it next with settings that leave it the same."""

    def __init__(self) -> None:
        self._cached: tuple[int, CachedSource] | None = None
        self._stored: tuple[str, ImageStore] | None = None

    def source(self, source: Source, config: Config) -> Source:
        """The source, its images kept in memory where they fit; with workers, images are decoded in theirs."""
        if config.data.workers:
            return source
        limit = config.data.cache_mb
        if self._cached is None or self._cached[0] != limit:
            self._cached = (limit, CachedSource(source, limit))
        return self._cached[1]

    def store(
        self, source: Source, train: Rows, task: Task, config: Config, device: str, journal: Journal
    ) -> ImageStore | None:  # fmt: skip
        """The training images on the device, read with progress; None where batches are not made there.

        Raises UsageError where they do not fit.
        """
        if not config.data.batched:
            return None
        key = _key(task, config, device)
        if self._stored is None or self._stored[0] != key:
            self._stored = None  # two would take twice the memory
            what = "reading training images"
            journal.start(what, len(train))
            try:
                read = ImageStore(source, train, task, config, device, lambda n, of: journal.advance(what, n, of))
            finally:
                journal.stop()
            self._stored = (key, read)
        return self._stored[1]


def _key(task: Task, config: Config, device: str) -> str:
    """What pixels and targets in a store depend on; not on how they are normalised or augmented."""
    fit = config.preprocess.model_dump(mode="json", include={"resize", "crop_fraction", "interpolation"})
    crops = [config.augment.crop_scale, config.augment.crop_ratio]
    data = config.data.model_dump(mode="json", exclude={"workers"})
    return json.dumps([task.state(), data, config.model.image_size, fit, crops, device], sort_keys=True, default=str)
