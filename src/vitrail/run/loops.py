"""The loop that trains a run: its batches, its validation, and the folder it writes into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from vitrail.artifact import save
from vitrail.assemble import VisionModel
from vitrail.contracts import Source, Task
from vitrail.data.batched.store import ImageStore
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.layers.lora import merged
from vitrail.run.prepare import Data, preprocessor_of
from vitrail.runtime.torch_engine import make_engine
from vitrail.settings import Config
from vitrail.training.journal import Journal
from vitrail.training.loop import Loop
from vitrail.training.objective import Objective

EVALUATION_BATCH = 64

Validation = Callable[[int], EvalLoader]
"""A loader of the first so many validation images."""


@dataclass(frozen=True)
class Kind:
    """What the loops of `train` and `pretrain` differ in.

    trained: of the model, what a model folder keeps.  train: batches of positions [first, last), from a store on the
    device where there is one.  validate: of these indices.
    """

    verb: str
    trained: Callable[[nn.Module], nn.Module]
    train: Callable[[Source, int, int, ImageStore | None], TrainLoader]
    validate: Callable[[Source, list[int]], EvalLoader]


def make_loop(
    folder: Path, config: Config, data: Data, model: VisionModel, objective: Objective, device: str, journal: Journal
) -> tuple[Loop, Validation]:
    """The loop of `train`, which keeps model folders and checkpoints in `folder`, and its validation."""
    task, preprocessor = model.task, preprocessor_of(config)

    def train(source: Source, first: int, last: int, store: ImageStore | None) -> TrainLoader:
        return TrainLoader(source, data.split.train, task, config, first, last, device, store)

    def validate(source: Source, indices: list[int]) -> EvalLoader:
        return EvalLoader(source, indices, task, preprocessor, EVALUATION_BATCH, config.data.workers)

    kind = Kind("train", merged, train, validate)
    return loop_of(kind, folder, config, data, model, task, objective, device, journal)


def loop_of(
    kind: Kind, folder: Path, config: Config, data: Data, model: nn.Module, task: Task, objective: Objective,
    device: str, journal: Journal,
) -> tuple[Loop, Validation]:  # fmt: skip
    """The loop, which keeps model folders and checkpoints in `folder`, and a loader of the first so many validation
    images, all of which the loop has already.

    Raises UsageError where the training images are to be kept on the device and do not fit.
    """
    preprocessor = preprocessor_of(config)

    def keep(which: str, kept: nn.Module, metrics: dict[str, float], task: Task) -> None:
        card = {"run": folder.name, "data": data.source.name, "split": "val", "metrics": metrics}
        save(folder / "model" / which, kind.trained(kept), config, task, preprocessor, card)

    # one cache for training and validation; what is on the device itself is read before the first step is timed
    source = data.kept.source(data.source, config)
    store = data.kept.store(data.source, data.split.train, task, config, device, journal)

    def validation(count: int) -> EvalLoader:
        return kind.validate(source, data.indices("val")[:count])

    loop = Loop(
        model=model, task=task, objective=objective, config=config, images=len(data.split.train), device=device,
        make_batches=lambda first, last: kind.train(source, first, last, store),
        validation=validation(len(data.split.val)),
        make_engine=lambda m: make_engine(m, device, preprocessor.windows), journal=journal, keep=keep,
        checkpoints=folder / "checkpoints", allowed_failures=data.allowed_failures(config), verb=kind.verb,
    )  # fmt: skip
    return loop, validation
