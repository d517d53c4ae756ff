"""A task's headline metric as a function of which images are counted: what its intervals are drawn from."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Task
from vitrail.report.statistics import Doubles, average_precision
from vitrail.tasks.meters.maps import DepthMeter
from vitrail.tasks.meters.masks import SegmentMeter
from vitrail.tasks.regress import Regress


class Tally:
    """What each image adds to the headline metric, batch by batch.

    Of mean average precision no image has a share of its own: its outputs and truths are kept instead.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._rows: list[Doubles] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add raw outputs (B, ...) and their targets."""
        self._rows.append(_rows(self.task, outputs, targets))

    @property
    def rows(self) -> Doubles:
        """(n, k), an image each: of accuracy (right, 1), of a mean error (error, 1) or, over pixels, (sum, pixels), of
        mIoU pixels rightly said, true and said of each class, of mAP scores and truths of each label.
        """
        return np.concatenate(self._rows)

    def scores(self, weights: Doubles | None = None) -> Doubles:
        """The metric with each image counted so often, (R, n) -> (R,), or once; NaN where undefined."""
        rows = self.rows
        counted = np.ones((1, len(rows))) if weights is None else weights
        if self.task.headline == "map":
            return _mean_precision(rows, counted, self.task.outputs)
        sums = counted @ rows
        if self.task.headline == "miou":
            both, true, said = sums.reshape(len(counted), 3, -1).swapaxes(0, 1)
            return _mean_of_known(both, true + said - both)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Doubles = sums[:, 0] / sums[:, 1]
        return means


def _rows(task: Task, outputs: Tensor, targets: Tensor) -> Doubles:
    """Of a batch, (B, k)."""
    if task.headline == "accuracy":
        return _counted((outputs.argmax(dim=1) == targets).double().numpy())
    if task.headline == "map":
        return np.concatenate([outputs.double().numpy(), targets.double().numpy()], axis=1)
    if task.headline == "miou":
        regions = cast(SegmentMeter, task.meter())
        regions.update(outputs, targets)
        return np.stack(regions.images).reshape(len(outputs), -1).astype(np.float64)
    if task.headline == "loss":
        return _counted(task.loss(outputs, targets).double().numpy())
    assert task.headline == "mae", f"the headline {task.headline} is new here"
    if task.dense:
        maps = cast(DepthMeter, task.meter())
        maps.update(outputs, targets)
        return np.stack(maps.images)[:, 0, 1::-1]  # sum of |said - true|, known pixels
    said = cast(Regress, task).values(outputs.numpy())
    return _counted(np.abs(said - targets.numpy())[:, 0])


def _counted(values: Any) -> Doubles:
    return np.stack([values, np.ones(len(values))], axis=1).astype(np.float64)


def _mean_of_known(parts: Doubles, wholes: Doubles) -> Doubles:
    """(R, Y) over (R, Y), the mean over what has a whole; NaN where nothing has."""
    there = wholes > 0
    shares = np.where(there, parts / np.where(there, wholes, 1), 0)
    count = there.sum(axis=1)
    means: Doubles = np.where(count > 0, shares.sum(axis=1) / np.maximum(count, 1), np.nan)
    return means


def _mean_precision(rows: Doubles, weights: Doubles, labels: int) -> Doubles:
    """mAP over the labels that a draw has."""
    present = rows[:, labels:] > 0
    areas = [average_precision(rows[:, label], present[:, label], weights) for label in range(labels)]
    return _mean_of_known(np.nan_to_num(np.stack(areas, axis=1)), np.isfinite(np.stack(areas, axis=1)).astype(float))


def as_tensor(outputs: np.ndarray[Any, Any]) -> Tensor:
    """An engine's answer for the task's own arithmetic."""
    return torch.from_numpy(np.ascontiguousarray(outputs))
