"""What a teacher says of a batch: computed, or remembered from an earlier run that saw the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vitrail.contracts import Batch
from vitrail.data.transfer import to_device
from vitrail.distill.cache import VERSION, AnswerCache
from vitrail.settings import Config

TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
"""Largest difference of a remembered answer, relative to the largest answer of its batch (at least 1).

Same machine, same threads: there is none. Other kernels differ by rounding alone, other images by far more.
"""


class Lesson:
    """Batch -> what the teacher says of its images, (B, ...) float32.

    say: images -> answers.  cache: where answers are kept, or None.  The first batch that is remembered is asked again:
    where the teacher now says otherwise, the cache is given up, said by `warn`, and begun anew.

    A batch with a sample that failed is neither kept nor remembered: its images are not what the key promises.
    """

    def __init__(
        self, say: Callable[[Tensor], Tensor], cache: AnswerCache | None = None, precision: str = "fp32",
        warn: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        self.say, self.cache, self.warn = say, cache, warn
        self.tolerance = TOLERANCE[precision]
        self.verified = False
        self.asked = 0
        """Batches that the teacher was asked about."""

    def __call__(self, batch: Batch) -> Tensor:
        cache = self.cache
        if cache is None or batch.failures or not cache.fits(batch.positions):
            return self._ask(batch)
        first = int(batch.positions.numpy()[0])  # which is on the host
        known = cache.recall(first)
        if known is not None:
            known = to_device(known, batch.images.device)
            if self.verified:
                return known
            said = self._ask(batch)
            apart = float((said - known).abs().max())
            if apart <= self.tolerance * max(1.0, float(said.abs().max())):
                self.verified = True
                return known
            self.warn(f"what was kept of the teacher's answers is not what it says now (off by {apart:.2g}): made anew")
            cache.discard()
            self.verified = True  # what is kept from now on is this run's own
        else:
            said = self._ask(batch)
        cache.put(first, said)
        return said

    def close(self) -> None:
        """Write what is not written yet."""
        if self.cache is not None:
            self.cache.flush()

    def _ask(self, batch: Batch) -> Tensor:
        self.asked += 1
        return self.say(batch.images)


def lesson_key(config: Config, teacher: str, what: str, fingerprint: str, dense: bool, versions: str) -> dict[str, Any]:
    """All that a teacher's answer to a position depends on, as JSON.

    teacher: its digest.  what: "outputs", or a level of its pyramid and a grid.  fingerprint: of the images and their
    split.  dense: whether images go with a map.  versions: of the libraries that make the images and the answers.
    """
    step, micro = config.train.batch_size, config.train.batch_size // config.train.accumulate
    augment = config.augment
    data = config.data.model_dump(mode="json", exclude={"workers", "cache_mb"})
    return {
        "version": VERSION,
        "versions": versions,
        "teacher": teacher,
        "what": what,
        "fingerprint": fingerprint,
        "dense": dense,
        "data": data,
        "image_size": config.model.image_size,
        "preprocess": config.preprocess.model_dump(mode="json"),
        "augment": augment.model_dump(mode="json"),
        "batch": [step, micro],  # mixing counts groups in a step; the kernels' rounding depends on the micro-batch
        "epochs": config.train.epochs if augment.mix_off_epochs else None,  # they say where mixing ends
        "precision": config.train.precision,
        "device": config.device,
        "data_seed": config.data_seed,
    }
