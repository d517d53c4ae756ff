"""outcomes.npz: what each held-out image adds to a run's score, so that runs can be compared image by image.

For each split, SPLIT_keys (n,) and SPLIT_values (n, k), in the split's order without images that failed. The columns,
by task: classify, whether it was right; multilabel, the probability of each label, then whether it is there; regress,
|said - true| of each number; segment, the pixels of each class rightly said, then those true, then those said; depth,
pixels whose truth is positive, and the sum over them of |said - true| / true. What a score is of them, `study.outcomes`
says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from vitrail import durable
from vitrail.contracts import Meter, Task
from vitrail.errors import IntegrityError
from vitrail.evaluate.evaluator import Evaluation
from vitrail.report.statistics import Doubles
from vitrail.tasks.meters.maps import DepthMeter
from vitrail.tasks.meters.masks import SegmentMeter
from vitrail.tasks.multilabel import probabilities
from vitrail.tasks.regress import Regress

FILE = "outcomes.npz"
Answers = np.ndarray[Any, Any]


def of(task: Task, result: Evaluation) -> Doubles:
    """What each image adds, (n, k), in the order of `result.keys`; columns as the module says."""
    if not result.keys:
        return np.zeros((0, 1))
    if task.dense:
        return _of_meter(task, cast(Meter, result.meter))
    return _of_answers(task, result.outputs, result.targets)


def of_batch(task: Task, outputs: Answers, targets: torch.Tensor) -> Doubles:
    """The same of raw outputs (B, ...) and the task's targets of as many images."""
    if not task.dense:
        return _of_answers(task, outputs, targets.numpy())
    meter = task.meter()
    meter.update(torch.from_numpy(np.ascontiguousarray(outputs)), targets)
    return _of_meter(task, meter)


def _of_answers(task: Task, outputs: Answers, targets: Answers) -> Doubles:
    if task.name == "classify":
        return np.asarray(outputs.argmax(axis=1) == targets, np.float64)[:, None]
    if task.name == "multilabel":
        return np.concatenate([probabilities(outputs), targets > 0.5], axis=1).astype(np.float64)
    assert task.name == "regress", f"the task {task.name} is new here"
    return np.asarray(np.abs(cast(Regress, task).values(outputs) - targets.astype(np.float64)), np.float64)


def _of_meter(task: Task, meter: Meter) -> Doubles:
    if task.name == "segment":
        images = cast(SegmentMeter, meter).images
        return np.stack(images).astype(np.float64).reshape(len(images), -1)
    assert task.name == "depth", f"the task {task.name} is new here"
    return np.stack(cast(DepthMeter, meter).relative).astype(np.float64)


def write(path: Path, task: Task, results: Mapping[str, Evaluation]) -> None:
    """Write outcomes.npz of these splits; it holds no Python objects."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for split, result in results.items():
        arrays[f"{split}_keys"] = np.array(result.keys, dtype=np.str_)
        arrays[f"{split}_values"] = of(task, result)
    durable.write_arrays(path, arrays)


def read(path: Path, split: str) -> tuple[list[str], Doubles]:
    """Keys (n,) and values (n, k) of a split; IntegrityError where the file is missing or damaged, or lacks it."""
    try:
        stored = durable.read_arrays(path)
        keys, values = stored[f"{split}_keys"].tolist(), np.asarray(stored[f"{split}_values"], np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise IntegrityError(f"{path} is missing, damaged or without {split} ({error}): train that run anew") from None
    if values.ndim != 2 or len(keys) != len(values):
        raise IntegrityError(f"{path} is damaged: its arrays do not fit each other")
    return [str(key) for key in keys], values
