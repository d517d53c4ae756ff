"""The loop that trains a run: its batches, its validation, and the folder it writes into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from vitrail.artifact import save
from vitrail.assemble import VisionModel
from vitrail.contracts import Task
from vitrail.data.batched.store import ImageStore
from vitrail.data.cache import CachedSource
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.layers.lora import merged
from vitrail.run.prepare import Data, preprocessor_of
from vitrail.runtime.torch_engine import make_engine
from vitrail.settings import Config
from vitrail.training.journal import Journal
from vitrail.training.loop import Loop
from vitrail.training.objective import Objective

EVALUATION_BATCH = 64


def read_store(data: Data, task: Task, config: Config, device: str, journal: Journal) -> ImageStore:
    """The training images on the device, with progress; UsageError where they do not fit."""
    what, total = "reading training images", len(data.split.train)
    journal.start(what, total)
    try:
        return ImageStore(
            data.source, data.split.train, task, config, device, lambda done, of: journal.advance(what, done, of)
        )
    finally:
        journal.stop()


def make_loop(
    folder: Path, config: Config, data: Data, model: VisionModel, objective: Objective, device: str, journal: Journal
) -> tuple[Loop, Callable[[int], EvalLoader]]:
    """The loop, which keeps model folders and checkpoints in `folder`, and a loader of the first so many validation
    images, all of which the loop has already.
    """
    task, preprocessor = model.task, preprocessor_of(config)

    def keep(which: str, kept: nn.Module, metrics: dict[str, float], task: Task) -> None:
        card = {"run": folder.name, "data": data.source.name, "split": "val", "metrics": metrics}
        save(folder / "model" / which, merged(kept), config, task, preprocessor, card)

    # one cache for training and validation; with workers, images are decoded in theirs
    source = data.source if config.data.workers else CachedSource(data.source, config.data.cache_mb)
    # what is on the device itself is not kept on the host as well, and is read before the first step is timed
    store = read_store(data, task, config, device, journal) if config.data.batched else None

    def make_batches(first: int, last: int) -> TrainLoader:
        return TrainLoader(source, data.split.train, task, config, first, last, device, store)

    def validation(count: int) -> EvalLoader:
        indices = data.split.val[:count]
        return EvalLoader(source, indices, task, preprocessor, EVALUATION_BATCH, config.data.workers)

    loop = Loop(
        model=model, task=task, objective=objective, config=config, images=len(data.split.train), device=device,
        make_batches=make_batches, validation=validation(len(data.split.val)),
        make_engine=lambda m: make_engine(m, device, preprocessor.windows), journal=journal, keep=keep,
        checkpoints=folder / "checkpoints",
        allowed_failures=int(config.data.max_bad_fraction * len(data.source.items)) - len(data.audit.bad),
    )  # fmt: skip
    return loop, validation
