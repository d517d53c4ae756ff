"""What each test image was to each finished run, brought together so that models can be compared image by image.

Of each task one score is compared, and measured under changed images: accuracy, mAP, mean absolute error, mIoU, or
abs_rel of depth. Columns of outcomes are those of `run.outcomes`; draws of scores are those of `statistics.joint`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from vitrail.contracts import Source, Task
from vitrail.errors import DataError, UsageError
from vitrail.report.statistics import Doubles, average_precision
from vitrail.run import Run, outcomes
from vitrail.study.statistics.folds import of_folds
from vitrail.study.statistics.joint import Array, Joint, of_means, of_metric, of_sums
from vitrail.study.statistics.recommendation import Measure
from vitrail.tasks.regress import Regress

MEASURES: Mapping[str, Measure] = {
    "classify": Measure("accuracy"),
    "multilabel": Measure("map"),
    "segment": Measure("miou"),
    "regress": Measure("mae", "lower", 0.0, "", 1.0),
    "depth": Measure("abs_rel", "lower", 0.01, "points", 100.0),
}
"""Task -> what is compared, with the least difference that matters; of an error in units, a share of its size."""
SPOKEN = {"accuracy": "accuracy", "map": "mAP", "miou": "mIoU", "mae": "mean absolute error", "abs_rel": "abs_rel"}
SEVERAL = "standard deviations"
"""What the errors of several targets, each in its own unit, are compared in."""
OF_ERROR = 0.02
"""Of a mean absolute error, the share of the best model's that is the least difference that matters."""


@dataclass(frozen=True)
class Outcomes:
    """Of runs on the same images. keys (n,): the images that all of them judged.  values: run -> (n, k), as
    `run.outcomes` has them.  groups (n,): of the images, or None.  lost: images that some run could not judge.
    """

    keys: tuple[str, ...]
    values: Mapping[str, Doubles]
    groups: Array | None
    lost: int

    @property
    def unit(self) -> str:
        """What is drawn."""
        return "groups of test images" if self.groups is not None else "test images"


@dataclass(frozen=True)
class Scored:
    """What the scores of a study are from. split: that was judged, by so many seeds of each model.  images: that were
    tested, `unit` what was drawn of them.  lost: images that some run could not judge.
    """

    task: str
    split: str
    measure: Measure
    seeds: int
    images: int
    unit: str
    lost: int

    def record(self, said: Sequence[str]) -> dict[str, Any]:
        """What results.json and --json open with: the sentences first."""
        own = {name: getattr(self, name) for name in ("measure", "task", "split", "seeds", "images", "lost")}
        return {"said": list(said), **own}


def gather(runs: Mapping[str, Run], split: str, source: Source | None = None) -> Outcomes:
    """The outcomes of these runs on the images of a split that all of them judged.

    source: whose groups are drawn whole.  Raises IntegrityError where a run's are missing, DataError where the runs
    have no image in common.
    """
    read = {name: outcomes.read(run.folder / outcomes.FILE, split) for name, run in runs.items()}
    first = next(iter(read.values()))[0] if read else []
    common = set(first).intersection(*(keys for keys, _ in read.values()))
    every = set[str]().union(*(keys for keys, _ in read.values()))
    keys = tuple(key for key in first if key in common)
    if not keys:
        raise DataError(f"no {split} image was judged by all of {', '.join(runs)}: nothing can be compared")
    values = {}
    for name, (own, array) in read.items():
        place = {key: row for row, key in enumerate(own)}
        values[name] = array[[place[key] for key in keys]]
    return Outcomes(keys, values, _groups(source, keys), len(every) - len(keys))


def _groups(source: Source | None, keys: Sequence[str]) -> Array | None:
    if source is None:
        return None
    wanted = set(keys)
    found = {item.key: item.group for item in source.items if item.key in wanted}
    if not any(group is not None for group in found.values()):
        return None
    return np.array([f"group {found[key]}" if found[key] is not None else f"key {key}" for key in keys])


def measure_of(task: Task, minimal: float | None, best: float | None = None) -> Measure:
    """What is compared for a task, with the least difference that matters.

    minimal: as the user stated it: points of a score or of abs_rel, the target's unit of an error (standard deviations,
    of several targets); None for the default: 1 point, or 2 % of the `best` error.  Raises UsageError where it is below
    0.
    """
    plain = MEASURES[task.name]
    if minimal is not None and not 0 <= minimal < float("inf"):
        raise UsageError(f"--minimal {minimal:g}: the least difference that matters is 0 or more")
    if task.name != "regress":
        return plain if minimal is None else replace(plain, minimal=minimal / plain.scale)
    units = cast(Regress, task).units
    unit = units[0] if len(units) == 1 else SEVERAL
    return replace(plain, minimal=OF_ERROR * (best or 0.0) if minimal is None else minimal, unit=unit)


def joint_of(task: Task, found: Mapping[str, Sequence[Doubles]], groups: Array | None) -> Joint:
    """Scores of models with draws of what else they could have been. found: model -> a (n, k) for each seed."""
    if task.name == "multilabel":
        stacked = {name: np.stack([_chances(v) for v in seeds]) for name, seeds in found.items()}
        truth = _truth(next(iter(found.values()))[0])
        made = of_metric(lambda true, said: float(_precision(said, true)[0]), truth, stacked, groups)
    elif task.name in ("segment", "depth"):
        whole = {name: np.stack(seeds) for name, seeds in found.items()}  # (S, n, k)
        made = of_sums(miou if task.name == "segment" else _ratio, whole, groups)
    else:
        made = of_means({name: np.stack([_each(task, v) for v in seeds]) for name, seeds in found.items()}, groups)
    return replace(made, limits=limits_of(task))


def joint_of_folds(task: Task, found: Mapping[str, Sequence[Doubles]], folds: int, images: int) -> Joint:
    """The same of repeats x folds. found: model -> a (n, k) for each fold, repeat by repeat."""
    scores = {name: np.array([score_of(task, v) for v in each]).reshape(-1, folds) for name, each in found.items()}
    return replace(of_folds(scores, folds, images, task.name == "classify"), limits=limits_of(task))


def limits_of(task: Task) -> tuple[float, float]:
    """What no score can lie beyond: 0 and 1, of an error 0."""
    return 0.0, 1.0 if MEASURES[task.name].better == "higher" else float("inf")


def score_of(task: Task, values: Doubles) -> float:
    """The score of one run from its outcomes (n, k); NaN where it is not defined."""
    return float(scores_of(task, values, np.ones((1, len(values))))[0])


def scores_of(task: Task, values: Doubles, weights: Doubles) -> Doubles:
    """The score of outcomes (n, k) with each image counted so often, (R, n) -> (R,); NaN where it is not defined."""
    if task.name == "multilabel":
        return _precision(_chances(values), _truth(values), weights)
    if task.name in ("segment", "depth"):
        return (miou if task.name == "segment" else _ratio)(weights @ values)
    return np.asarray(weights @ _each(task, values) / weights.sum(axis=1), np.float64)


@dataclass(frozen=True)
class Blind:
    """One who never looks at an image. score: of that.  what: it does, in words."""

    score: float
    what: str


def blind(task: Task, values: Doubles, targets: Sequence[Any], trained: Sequence[Any]) -> Blind | None:
    """What is scored without looking; None where that is not known (depth), or there is no such score.

    values (n, k): any model's outcomes on the images.  targets: of these images.  trained: of the training images.
    """
    if task.name == "classify":
        counts = Counter(map(str, trained))
        most = min(counts, key=lambda name: (-counts[name], name))
        found = Blind(float(np.mean([str(target) == most for target in targets])), f"always answering '{most}'")
    elif task.name == "regress":
        true = np.array([task.encode(target) for target in targets], np.float64)
        off = np.abs(true - np.asarray(cast(Regress, task).mean))
        found = Blind(score_of(task, off), "always answering the training images' mean")
    elif task.name == "multilabel":
        truth = _truth(values)
        found = Blind(
            score_of(task, np.concatenate([np.zeros(truth.shape), truth], axis=1)), "answering the same for every image"
        )
    elif task.name == "segment":
        true = values.sum(axis=0).reshape(3, -1)[1]
        share = true.max() / max(true.sum(), 1) / max((true > 0).sum(), 1)
        found = Blind(float(share), "always answering the largest class")
    else:
        return None
    return found if np.isfinite(found.score) else None


def miou(sums: Doubles) -> Doubles:
    """Mean IoU of counts (..., 3 Y), over the classes that occur; NaN where none does."""
    both, true, said = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    either = true + said - both
    there = either > 0
    each = np.where(there, both / np.where(there, either, 1.0), 0.0)
    count = there.sum(axis=-1)
    return np.asarray(np.where(count > 0, each.sum(axis=-1) / np.maximum(count, 1), np.nan), np.float64)


def _precision(chances: Doubles, truth: Array, weights: Doubles | None = None) -> Doubles:
    """Mean average precision (R,) over the labels (n, Y) that some counted image has; NaN where none has any."""
    areas = np.stack([average_precision(*pair, weights) for pair in zip(chances.T, truth.T, strict=True)])  # (Y, R)
    there = np.isfinite(areas)
    count = there.sum(axis=0)
    total = np.where(there, areas, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float64)


def _ratio(sums: Doubles) -> Doubles:
    count, total = sums[..., 0], sums[..., 1]
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1.0), np.nan), np.float64)


def _each(task: Task, values: Doubles) -> Doubles:
    """What each image adds to a mean, (n, k) -> (n,): of several numbers, in standard deviations of training's."""
    # errors in different units have no mean
    scaled = values / np.asarray(cast(Regress, task).std) if values.shape[1] > 1 else values
    return np.asarray(scaled.mean(axis=1), np.float64)


def _chances(values: Doubles) -> Doubles:
    return values[:, : values.shape[1] // 2]


def _truth(values: Doubles) -> Array:
    return values[:, values.shape[1] // 2 :] > 0.5
