"""outcomes.npz: what each held-out image adds to a run's headline score, so that runs can be compared image by image.

For each split, SPLIT_keys (n,) and SPLIT_values (n, k), in the split's order without images that failed. The columns,
by task: classify, whether it was right; multilabel, the probability of each label, then whether it is there; regress,
|said - true| of each number; segment, the pixels of each class rightly said, then those true, then those said; depth,
pixels whose truth is positive, and the sum over them of |said - true| / true.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from vitrail import durable
from vitrail.contracts import Task
from vitrail.errors import IntegrityError
from vitrail.evaluate.evaluator import Evaluation
from vitrail.report.statistics import Doubles
from vitrail.tasks.meters.maps import DepthMeter
from vitrail.tasks.meters.masks import SegmentMeter
from vitrail.tasks.multilabel import probabilities
from vitrail.tasks.regress import Regress

FILE = "outcomes.npz"


def of(task: Task, result: Evaluation) -> Doubles:
    """What each image adds, (n, k), in the order of `result.keys`; columns as the module says."""
    count = len(result.keys)
    if not count:
        return np.zeros((0, 1))
    if task.name == "classify":
        return np.asarray(result.outputs.argmax(axis=1) == result.targets, np.float64)[:, None]
    if task.name == "multilabel":
        return np.concatenate([probabilities(result.outputs), result.targets > 0.5], axis=1).astype(np.float64)
    if task.name == "regress":
        off = cast(Regress, task).values(result.outputs) - result.targets.astype(np.float64)
        return np.asarray(np.abs(off), np.float64)
    if task.name == "segment":
        return np.stack(cast(SegmentMeter, result.meter).images).astype(np.float64).reshape(count, -1)
    assert task.name == "depth", task.name
    return np.stack(cast(DepthMeter, result.meter).relative).astype(np.float64)


def write(path: Path, task: Task, results: Mapping[str, Evaluation]) -> None:
    """Write outcomes.npz of these splits; it holds no Python objects."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for split, result in results.items():
        arrays[f"{split}_keys"] = np.array(result.keys, dtype=np.str_)
        arrays[f"{split}_values"] = of(task, result)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    durable.write_file(path, buffer.getvalue())


def read(path: Path, split: str) -> tuple[list[str], Doubles]:
    """Keys (n,) and values (n, k) of a split; IntegrityError where the file is missing or damaged, or lacks it."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, values = stored[f"{split}_keys"].tolist(), np.asarray(stored[f"{split}_values"], np.float64)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise IntegrityError(f"{path} is missing, damaged or without {split} ({error}): train that run anew") from None
    if values.ndim != 2 or len(keys) != len(values):
        raise IntegrityError(f"{path} is damaged: its arrays do not fit each other")
    return [str(key) for key in keys], values
