"""The one evaluation loop: an engine over a split, in the split's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vitrail.contracts import Batch, Engine, Failure, Meter, Prediction, Spread, Task


@dataclass(frozen=True)
class Evaluation:
    """What a model did on a split.

    metrics: the task's, and `loss` (mean over samples, no smoothing, no weights). outputs (n, Y), targets (n, ...),
    losses (n,) and keys stand in the split's order without the `failures`. Of a task with a value per pixel, outputs
    and targets are not kept, (n, 0): they would not fit in memory.  answers: one per sample, without its maps, where
    they were asked for.  meter: what the metrics were computed by.
    """

    metrics: dict[str, float]
    outputs: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]
    losses: np.ndarray[Any, Any]
    indices: np.ndarray[Any, np.dtype[np.int64]]
    keys: tuple[str, ...]
    failures: tuple[Failure, ...]
    answers: tuple[Prediction, ...] = ()
    meter: Meter | None = None


def evaluate(
    engine: Engine, batches: Iterable[Batch], task: Task, progress: Callable[[int], None] | None = None,
    answers: bool = False, spread: Callable[[int], Spread] | None = None,
) -> Evaluation:  # fmt: skip
    """Run every batch once and score it. `progress` is told the number of images done.

    answers: keep what was said of each image.  spread: of a source index, how a map goes back to that image's own size;
    answers of tasks with a value per pixel are then those that `predict` gives.

    A sample that cannot be read is left out of the metrics and named in `failures`: it is never replaced.
    """
    meter = task.meter()
    outputs, targets, losses, indices = [], [], [], []
    keys: list[str] = []
    failures: list[Failure] = []
    said: list[Prediction] = []
    done = 0
    for batch in batches:
        failures += batch.failures
        good = batch.weights > 0
        if bool(good.any()):
            images, truth = batch.images[good], batch.targets[good]
            answer = torch.from_numpy(engine(images.numpy()))
            meter.update(answer, truth)
            named = [key for key, kept in zip(batch.keys, good.tolist(), strict=True) if kept]
            if answers:
                back = [spread(int(index)) for index in batch.indices[good]] if spread and task.dense else None
                said += [replace(made, arrays={}) for made in task.decode(answer.numpy(), named, back)]
            outputs.append(np.zeros((len(answer), 0), np.float32) if task.dense else answer.numpy())
            targets.append(np.zeros((len(truth), 0), np.float32) if task.dense else truth.numpy())
            losses.append(task.loss(answer, truth).numpy())
            indices.append(batch.indices[good].numpy())
            keys += named
        done += len(batch.keys)
        if progress:
            progress(done)
    if not outputs:
        nothing = np.zeros((0,), dtype=np.float32)
        empty = np.zeros((0,), dtype=np.int64)
        return Evaluation({}, nothing.reshape(0, task.outputs), empty, nothing, empty, (), tuple(failures))
    loss = np.concatenate(losses)
    metrics = {"loss": float(loss.astype(np.float64).mean()), **meter.compute()}
    return Evaluation(
        metrics, np.concatenate(outputs), np.concatenate(targets), loss, np.concatenate(indices), tuple(keys),
        tuple(failures), tuple(said), meter,
    )  # fmt: skip
