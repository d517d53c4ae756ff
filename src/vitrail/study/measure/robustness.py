"""What is left of a model's score when its test images are stored, lit, shifted or turned otherwise.

Images larger than SIDE are scaled down first, once, so that a level means the same whatever the camera; what the score
falls from is measured on those same images, unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.contracts import Engine, Pixels, Source, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sizes import misfit
from vitrail.errors import BadImage
from vitrail.report.statistics import Doubles, draws
from vitrail.run.outcomes import of_batch
from vitrail.study import changes
from vitrail.study.changes import Places
from vitrail.study.measure.levels import KINDS, LEVELS, changed
from vitrail.study.outcomes import MEASURES, score_of, scores_of
from vitrail.study.statistics.intervals import Interval, between

SIDE = 224
"""Pixels of the shorter side, or the model's own where that is larger."""
CHUNK = 32
RESAMPLES, RESAMPLES_OF_PRECISION = 1000, 200
MOST_KEPT = 64
"""Numbers kept of each image in the record; mIoU and mAP of many classes have more."""

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Level:
    """The score at a level of a kind. drop: share of the unchanged score that is lost, of an error by which it grows,
    on the same draws of images.  outcomes: of each image, in the order of `Robustness.keys`, as `run.outcomes` has
    them; () where they would be too many.
    """

    kind: str
    level: int
    score: Interval
    drop: Interval
    outcomes: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Robustness:
    """metric: what a study compares, its score on `split`.  images: so many, `keys`.  clean: unchanged.  drop: the mean
    over all kinds and levels.  by_kind: over the levels of one.  told: kind -> its strengths and their source.  moved:
    what becomes of targets where things move.
    """

    metric: str
    maximise: bool
    split: str
    seed: int
    keys: tuple[str, ...]
    clean: Interval
    levels: tuple[Level, ...]
    drop: Interval
    by_kind: Mapping[str, Interval]
    told: Mapping[str, str]
    moved: str
    outcomes: tuple[tuple[float, ...], ...] = ()
    """Of the unchanged images."""

    @property
    def images(self) -> int:
        """n."""
        return len(self.keys)


Condition = tuple[str, int]
CLEAN: Condition = ("", 0)
CONDITIONS: tuple[Condition, ...] = (CLEAN, *((kind, level) for kind in KINDS for level in LEVELS))


@dataclass(frozen=True)
class Subject:
    """What is measured: a model behind an engine, and the samples it is measured on."""

    engine: Engine
    task: Task
    preprocessor: Preprocessor
    source: Source
    split: str

    def batches(self, indices: Sequence[int], seed: int) -> Iterator[tuple[Condition, list[str], Values, list[Any]]]:
        """For each chunk of images and each condition: keys, prepared images (B, C, H, W), encoded targets.

        An image or target that cannot be read is left out of all conditions.
        """
        size = 1 if self.preprocessor.windows else CHUNK
        for start in range(0, len(indices), size):
            whole = [self._sample(index) for index in indices[start : start + size]]
            read = [sample for sample in whole if sample is not None]
            if not read:
                continue
            for condition in CONDITIONS:
                ready = [self._ready(*sample, condition, seed) for sample in read]
                yield condition, [key for key, _, _ in read], np.stack([a for a, _ in ready]), [t for _, t in ready]

    def _sample(self, index: int) -> tuple[str, Pixels, Any] | None:
        """Key, pixels of at most SIDE, target (encoded and scaled along where it is a map)."""
        item = self.source.items[index]
        try:
            pixels = self.source.read(index, self.preprocessor.channels)
            target = self.task.encode(item.target)
            if self.task.dense and misfit(target.shape[-2:], pixels.shape[:2]):
                return None
        except BadImage:
            return None
        most = max(SIDE, *self.preprocessor.size)
        shorter = min(pixels.shape[:2])
        if self.preprocessor.windows or shorter <= most:
            return item.key, pixels, target
        tall, wide = (max(1, round(side * most / shorter)) for side in pixels.shape[:2])
        shrink = Preprocessor(size=(tall, wide), channels=self.preprocessor.channels, resize="squash")
        if self.task.dense:
            target = shrink.fit_values(target, np.empty((*target.shape[:-2], tall, wide), target.dtype))
        return item.key, shrink.fit(pixels), target

    def _ready(self, key: str, pixels: Pixels, target: Any, condition: Condition, seed: int) -> tuple[Values, Any]:
        places: Places | None = None
        if condition != CLEAN:
            pixels, places = changed(pixels, *condition, seed, key)
        if self.task.dense:
            dense: Any = self.task
            if places is not None:
                target = changes.carried(target, places, dense.blank(pixels.shape[:2]))
            blank = dense.blank(self.preprocessor.canvas(*pixels.shape[:2]))
            target = self.preprocessor.fit_values(target, blank)
        return self.preprocessor(pixels), target


def robustness(subject: Subject, indices: Sequence[int], seed: int = 0) -> Robustness | None:
    """Score the samples under every change; None where none could be read. seed: of noise and directions."""
    found: dict[Condition, list[Doubles]] = {condition: [] for condition in CONDITIONS}
    keys: list[str] = []
    for condition, named, images, targets in subject.batches(indices, seed):
        if condition == CLEAN:
            keys += named
        answers = subject.engine(images)
        found[condition].append(of_batch(subject.task, answers, subject.task.collate(targets)))
    if not keys:
        return None
    return _summed(subject, {condition: np.concatenate(rows) for condition, rows in found.items()}, tuple(keys), seed)


def _summed(subject: Subject, found: Mapping[Condition, Doubles], keys: tuple[str, ...], seed: int) -> Robustness:
    """found: condition -> what each image adds to the score, (n, k)."""
    task, measure = subject.task, MEASURES[subject.task.name]
    maximise = measure.better == "higher"
    most = RESAMPLES_OF_PRECISION if task.name == "multilabel" else RESAMPLES
    weights = np.concatenate(list(draws(len(keys), most)))
    values = {condition: score_of(task, rows) for condition, rows in found.items()}
    drawn = {condition: scores_of(task, rows, weights) for condition, rows in found.items()}

    def lost(condition: Condition) -> tuple[float, Doubles]:
        one = np.array([values[CLEAN]]), np.array([values[condition]])
        return float(_drop(*one, maximise)[0]), _drop(drawn[CLEAN], drawn[condition], maximise)

    drops = {condition: lost(condition) for condition in CONDITIONS[1:]}

    def mean(conditions: Sequence[Condition]) -> Interval:
        value = float(np.mean([drops[condition][0] for condition in conditions]))
        return between(value, np.mean([drops[condition][1] for condition in conditions], axis=0))

    def outcomes(condition: Condition) -> tuple[tuple[float, ...], ...]:
        rows = found[condition]
        return tuple(map(tuple, rows.tolist())) if rows.shape[1] <= MOST_KEPT else ()

    levels = tuple(
        Level(*condition, between(values[condition], drawn[condition]), between(*drops[condition]), outcomes(condition))
        for condition in CONDITIONS[1:]
    )
    moved = "a value per pixel moves with its pixel; what came from beyond the edge is unknown" if task.dense else ""
    return Robustness(
        metric=measure.name,
        maximise=maximise,
        split=subject.split,
        seed=seed,
        keys=keys,
        clean=between(values[CLEAN], drawn[CLEAN]),
        levels=levels,
        drop=mean(CONDITIONS[1:]),
        by_kind={kind: mean([(kind, level) for level in LEVELS]) for kind in KINDS},
        told={kind: what.told() for kind, what in KINDS.items()},
        moved=moved,
        outcomes=outcomes(CLEAN),
    )


def _drop(clean: Doubles, changed: Doubles, maximise: bool) -> Doubles:
    """Share of the score that is lost, of an error by which it grows; NaN where there was none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Doubles = (clean - changed) / np.where(clean > 0, clean, np.nan)
    return share if maximise else -share
