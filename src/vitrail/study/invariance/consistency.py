"""How much of an answer stays when the image is changed: pure functions of a model's outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.contracts import Task
from vitrail.report.statistics import Doubles
from vitrail.tasks.multilabel import MultiLabel, probabilities

Array = np.ndarray[Any, Any]

STAYS, COSINE, VARIATION, MOVED = "stays", "cosine", "variation", "moved"
MEASURES = (STAYS, COSINE, VARIATION, MOVED)


@dataclass(frozen=True, eq=False)
class Consistency:
    """Of each image (n,), NaN where a task has no such thing or it is undefined.

    stays: 1 where the answer is the same (the class; the set of labels).  cosine: of both outputs, each less the mean
    output over the unchanged images: 1 unchanged, 0 unrelated.  variation: total variation of the probabilities of
    classes, in [0, 1].  moved: how far the output went, over the root of the mean square distance between the outputs
    of two different images: 0 not at all, 1 as far as to another image.
    """

    stays: Doubles
    cosine: Doubles
    variation: Doubles
    moved: Doubles

    def of(self, measure: str) -> Doubles:
        """By name."""
        values: Doubles = getattr(self, measure)
        return values


def compare(task: Task, before: Array, after: Array) -> Consistency:
    """Outputs (n, Y) of the images as they are and of the changed ones."""
    one, other = before.astype(np.float64), after.astype(np.float64)
    nothing = np.full(len(one), math.nan)
    stays = variation = nothing
    if task.name in ("classify", "multilabel"):
        stays = (answers(task, one) == answers(task, other)).all(axis=1).astype(np.float64)
    if task.name == "classify":
        variation = 0.5 * np.abs(_softmax(one) - _softmax(other)).sum(axis=1)
    centre = one.mean(axis=0)
    apart = spread(one)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(one - centre, axis=1) * np.linalg.norm(other - centre, axis=1)
        cosine = ((one - centre) * (other - centre)).sum(axis=1) / np.where(lengths > 0, lengths, math.nan)
        moved = np.linalg.norm(one - other, axis=1) / (apart or math.nan)
    return Consistency(stays, cosine, variation, moved)


def answers(task: Task, outputs: Array) -> Array:
    """What is said of each image, (n, ...): the class, or whether each label stands."""
    if isinstance(task, MultiLabel):
        return np.asarray(probabilities(outputs) >= np.asarray(task.thresholds))
    return np.asarray(outputs.argmax(axis=1)[:, None])


def alike(task: Task, outputs: Array) -> float:
    """Share of pairs of different images with the same answer: what `stays` would be of a model that is given another
    image. NaN where a task has no answers that can be the same.
    """
    if task.name not in ("classify", "multilabel") or len(outputs) < 2:
        return math.nan
    counts = np.unique(answers(task, outputs), axis=0, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(outputs) * (len(outputs) - 1)))


def spread(outputs: Doubles) -> float:
    """The root of the mean square distance between the outputs of two different images; 0 of a single one."""
    count = len(outputs)
    if count < 2:
        return 0.0
    return math.sqrt(2 * float(np.square(outputs - outputs.mean(axis=0)).sum()) / (count - 1))


def _softmax(logits: Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Doubles = powers / powers.sum(axis=1, keepdims=True)
    return shares
