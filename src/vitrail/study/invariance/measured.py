"""One model of a study, measured: every state of it under every condition, on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.contracts import Pixels, Task
from vitrail.cost.count import parameters
from vitrail.data.preprocess import Preprocessor
from vitrail.report.statistics import Doubles
from vitrail.report.study_tables import plain
from vitrail.runtime.torch_engine import TorchEngine
from vitrail.study.invariance.conditions import Condition
from vitrail.study.invariance.consistency import MEASURES, alike, compare
from vitrail.study.measure.records import restored
from vitrail.study.statistics.intervals import Interval, over_images
from vitrail.study.subjects import State, Subject

BATCH = 32
SEED = 0
"""Of directions and orders: the same for all models."""

Sample = tuple[str, Pixels]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """A condition, or with amount NaN the mean over all of its family. values: measure -> its mean over images, of
    several seeds the mean over them of each image.  by_seed: measure -> the mean of each seed.
    """

    family: str
    amount: float
    values: Mapping[str, Interval]
    by_seed: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Measured:
    """A state, of all its seeds. alike: share of pairs of different images with the same answer."""

    state: str
    seeds: tuple[int, ...]
    alike: float
    rows: tuple[Row, ...]

    def of(self, family: str, amount: float | None = None) -> Row | None:
        """The row of a condition, or of a whole family."""
        for row in self.rows:
            if row.family == family and (row.amount == amount or (amount is None and np.isnan(row.amount))):
                return row
        return None


@dataclass(frozen=True)
class Found:
    """All of one model. where: the folder of its trained weights, "".  side: pixels of its images.  cell: pixels a side
    of its first grid's cells.  images: measured on.  score: of its run, as text; "" where it is not known.
    """

    name: str
    model: str
    where: str
    task: str
    side: int
    cell: int
    parameters: int
    images: int
    states: tuple[Measured, ...]
    score: str = ""

    def record(self) -> dict[str, Any]:
        """For JSON; `Found.of` reads it back."""
        record: dict[str, Any] = plain(self)
        return record

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Found:
        """What `record` gave; KeyError or TypeError for anything else."""
        return restored(cls, record)

    def state(self, name: str) -> Measured | None:
        """By its name."""
        return next((state for state in self.states if state.state == name), None)


def measure(
    subject: Subject, samples: Sequence[Sample], conditions: Sequence[Condition], seeds: int, device: str
) -> Found:
    """Measure a model in all its states."""
    fitted = [(key, subject.preprocessor.fit(pixels)) for key, pixels in samples]
    made: dict[str, list[_OfOne]] = {}
    count = 0
    for way in subject.states(seeds):
        model = subject.model(way, device)
        count = parameters(model)
        found = _of_one(way, TorchEngine(model, device), subject.task, subject.preprocessor, fitted, conditions)
        made.setdefault(way.name, []).append(found)
    states = tuple(_summed(name, found, conditions) for name, found in made.items())
    return Found(
        subject.name, subject.config.model.name, subject.where, subject.task.name, subject.side, subject.cell, count,
        len(samples), states, subject.score,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _OfOne:
    """A state with one seed. values: condition -> measure -> of each image (n,)."""

    state: State
    alike: float
    values: Mapping[Condition, Mapping[str, Doubles]]


def _of_one(
    state: State, engine: TorchEngine, task: Task, preprocessor: Preprocessor, fitted: Sequence[Sample],
    conditions: Sequence[Condition],
) -> _OfOne:  # fmt: skip
    def answered(change: Callable[[Pixels, str], Pixels]) -> Array:
        outputs = []
        for start in range(0, len(fitted), BATCH):
            chunk = [preprocessor.normalise(change(pixels, key)) for key, pixels in fitted[start : start + BATCH]]
            outputs.append(engine(np.stack(chunk)))
        return np.concatenate(outputs)

    before = answered(lambda pixels, key: pixels)
    values = {}
    for condition in conditions:
        after = answered(lambda pixels, key, made=condition: made(pixels, SEED, key))  # type: ignore[misc]
        found = compare(task, before, after)
        values[condition] = {measure: found.of(measure) for measure in MEASURES}
    return _OfOne(state, alike(task, before), values)


def _summed(name: str, found: Sequence[_OfOne], conditions: Sequence[Condition]) -> Measured:
    families = dict.fromkeys(condition.family for condition in conditions)
    rows = [_row(found, condition.family, condition.amount, [condition]) for condition in conditions]
    rows += [_row(found, family, np.nan, [c for c in conditions if c.family == family]) for family in families]
    seeds = tuple(one.state.seed for one in found if one.state.seed is not None)
    return Measured(name, seeds, float(np.mean([one.alike for one in found])), tuple(rows))


def _row(found: Sequence[_OfOne], family: str, amount: float, conditions: Sequence[Condition]) -> Row:
    values, by_seed = {}, {}
    for measure in MEASURES:
        # (seeds, n): of each image the mean over the conditions
        each = np.stack([np.mean([one.values[c][measure] for c in conditions], axis=0) for one in found])
        values[measure] = over_images(each.mean(axis=0))
        by_seed[measure] = tuple(float(np.nanmean(one)) if np.isfinite(one).any() else float("nan") for one in each)
    return Row(family, float(amount), values, by_seed)
