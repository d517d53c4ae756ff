"""Scores of several models on the same test images, from several seeds, and draws of what else they could have been.

Images (or groups of them) and seeds are resampled together. Images are drawn once for all models and all their seeds,
so that models are compared on the same images; each draw holds a whole image or group. An image's outcome under several
seeds is averaged before it is drawn: drawing seeds anew within drawn images (the pigeonhole bootstrap) counts what seed
and image do together three times (Owen 2007, arXiv 0712.1111), which for differences of models is most of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from vitrail.explain.trust.bootstrap import LEAST, expanded
from vitrail.report.statistics import Doubles
from vitrail.report.statistics import draws as image_draws
from vitrail.seeding import generator
from vitrail.study.statistics.intervals import LEVEL, Interval, between
from vitrail.study.statistics.seeds import seed_draws, spread

Array = np.ndarray[Any, Any]
Metric = Callable[[Array, Array], float]
"""(truth (n, ...), predictions (n, ...)) -> score; NaN where it is not defined."""

RESAMPLES = 2000
RESAMPLES_OF_METRIC = 500
NO_LIMITS = (-math.inf, math.inf)
IMAGINED = 2
"""Images added to those that were right or wrong, each model right on each by the toss of a coin."""


@dataclass(frozen=True)
class Joint:
    """Mean scores of models (M,), and draws of them that belong together row by row.

    values (M,): mean over seeds.  images (R, M): draws of the mean scores had other images been tested.
    seeds (R, M): what other seeds would have added, around 0.  spread (M,): variance between seeds.  explained (M,):
    the part of it that the test images explain.  units: images, or groups of images, that were drawn.  count: seeds, or
    repeats of folds.  limits: what no score can lie beyond.
    """

    names: tuple[str, ...]
    values: Doubles
    images: Doubles
    seeds: Doubles
    spread: Doubles
    explained: Doubles
    units: int
    count: int
    folds: int = 0
    limits: tuple[float, float] = NO_LIMITS

    @property
    def draws(self) -> Doubles:
        """(R, M): what the mean scores could have been."""
        return self.images + self.seeds

    def index(self, name: str) -> int:
        """Column of a model."""
        return self.names.index(name)

    def interval(self, name: str, level: float = LEVEL) -> Interval:
        """A model's score."""
        column = self.index(name)
        return between(float(self.values[column]), self.draws[:, column].clip(*self.limits), level)

    def select(self, names: Sequence[str]) -> Joint:
        """Some of its models, with the same draws."""
        columns = [self.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            values=self.values[columns],
            images=self.images[:, columns],
            seeds=self.seeds[:, columns],
            spread=self.spread[columns],
            explained=self.explained[columns],
        )

    def errors(self) -> Joint:
        """1 - score, of scores in [0, 1] where higher is better."""
        limits = (1 - self.limits[1], 1 - self.limits[0])
        return replace(self, values=1 - self.values, images=1 - self.images, seeds=-self.seeds, limits=limits)


def of_means(outcomes: Mapping[str, Doubles], groups: Array | None = None, resamples: int = RESAMPLES) -> Joint:
    """Of scores that are means over images: accuracy, MAE, top-5 accuracy.

    outcomes: model -> (S, n), what each seed scored on each image; the same images and number of seeds for all.
    groups (n,): what belongs together (patient, place, video), drawn whole. Raises ValueError where shapes differ or
    outcomes are not finite.

    Outcomes that are only right or wrong gain two imagined images, so that a model without an error on n images still
    has an interval, of about 3 / n (Agresti and Min 2005; for one proportion Agresti and Coull 1998).
    """
    names, stacked = _stacked(outcomes)  # (M, S, n)
    if stacked.ndim != 3:
        raise ValueError(f"Outcomes of means are (seeds, images), not {stacked.shape[1:]}.")
    if not np.isfinite(stacked).all():
        raise ValueError("Some outcomes are missing or not finite. Leave those images out for all models.")
    which, units = _units(groups, stacked.shape[2])
    sizes = np.bincount(which, minlength=units).astype(np.float64)
    sums = np.stack([np.bincount(which, row, units) for row in stacked.reshape(-1, stacked.shape[2])])  # (M * S, G)
    imagined = IMAGINED if bool(np.isin(stacked, (0.0, 1.0)).all()) else 0
    rng, blocks = generator("imagined", units), []
    for counts in image_draws(units + imagined, resamples):  # (R, G + 2)
        real, extra = counts[:, :units], counts[:, units:] * sizes.mean()
        coins = rng.integers(0, 2, (len(counts), imagined, len(names), 1))
        total = (real @ sums.T).reshape(len(counts), len(names), -1) + (extra[..., None, None] * coins).sum(axis=1)
        weight = real @ sizes + extra.sum(axis=1)
        blocks.append(total / np.maximum(weight, 1e-12)[:, None, None])
    return _joint(names, stacked.mean(axis=2), np.concatenate(blocks), units, (0.0, 1.0) if imagined else NO_LIMITS)


def of_sums(
    statistic: Callable[[Doubles], Doubles], sums: Mapping[str, Doubles], groups: Array | None = None,
    resamples: int = RESAMPLES,
) -> Joint:  # fmt: skip
    """Of scores that are functions of sums over images: mean IoU of counts per class, R2, RMSE, F1.

    sums: model -> (S, n, k), what each image adds.  statistic: sums over images (..., k) -> scores (...).
    """
    names, stacked = _stacked(sums)  # (M, S, n, k)
    which, units = _units(groups, stacked.shape[2])
    grouped = np.zeros((units, *stacked.shape[:2], stacked.shape[3]))
    np.add.at(grouped, which, np.moveaxis(stacked, 2, 0))
    flat = grouped.reshape(units, -1)
    shape = (-1, *stacked.shape[:2], stacked.shape[3])
    drawn = [statistic((counts @ flat).reshape(shape)) for counts in image_draws(units, resamples)]
    return _joint(names, statistic(stacked.sum(axis=2)), np.concatenate(drawn), units)


def of_metric(
    metric: Metric, truth: Array, predictions: Mapping[str, Array], groups: Array | None = None,
    resamples: int = RESAMPLES_OF_METRIC,
) -> Joint:  # fmt: skip
    """Of any score of truth and predictions: mAP, AUROC, ECE. It is computed `resamples` x seeds x models times.

    truth (n, ...).  predictions: model -> (S, n, ...), as the metric reads them.
    """
    names, stacked = _stacked(predictions)
    if len(truth) != stacked.shape[2]:
        raise ValueError(f"There are {len(truth)} images with a truth and {stacked.shape[2]} with predictions.")
    which, units = _units(groups, len(truth))
    members = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=units))
    of_unit = np.split(members, ends[:-1])
    drawn = []
    for counts in image_draws(units, resamples):
        for row in counts.astype(int):
            rows = np.concatenate([np.tile(of_unit[unit], row[unit]) for unit in np.flatnonzero(row)])
            drawn.append([[metric(truth[rows], seed[rows]) for seed in model] for model in stacked])
    scores = np.array([[metric(truth, seed) for seed in model] for model in stacked], np.float64)
    return _joint(names, scores, np.array(drawn, np.float64), units)


def _stacked(arrays: Mapping[str, Array]) -> tuple[tuple[str, ...], Array]:
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"Models are compared on the same images and as many seeds each, not on {shapes}.")
    return tuple(arrays), np.stack(list(arrays.values()))


def _units(groups: Array | None, images: int) -> tuple[Array, int]:
    if groups is None:
        return np.arange(images), images
    if len(groups) != images:
        raise ValueError(f"There are {images} images and {len(groups)} groups.")
    found, which = np.unique(groups, return_inverse=True)
    return which, len(found)


def _joint(
    names: tuple[str, ...], scores: Doubles, drawn: Doubles, units: int, limits: tuple[float, float] = NO_LIMITS
) -> Joint:
    """scores (M, S), and the same on drawn images (R, M, S)."""
    seeds = scores.shape[1]
    means = drawn.mean(axis=2)
    defined = np.asarray(np.isfinite(drawn).all(axis=(1, 2)))  # a draw may lack a class, and a metric with it
    if defined.sum() <= len(drawn) / 2:
        means[:] = np.nan
        defined[:] = True
    centre = means[defined].mean(axis=0)
    images = centre + (means - centre) * wider(units)
    between_seeds, explained = spread(scores), np.zeros(len(names))
    if seeds > 1:
        explained = (drawn - means[..., None])[defined].var(axis=0).sum(axis=1) / (seeds - 1)
    own = seed_draws(names, between_seeds, explained, seeds, len(drawn))
    return Joint(names, scores.mean(axis=1), images, own, between_seeds, explained, units, seeds, limits=limits)


def wider(units: int) -> float:
    """How much wider draws of few units are spread than resampling them shows; NaN below 8, of which nothing is known.

    Student's t over the normal law, and n / (n - 1) (Hesterberg 2015, arXiv 1411.5279, section 5.3).
    """
    if units < LEAST:
        return math.nan
    normal = NormalDist()
    return normal.inv_cdf(expanded(0.025, units)) / normal.inv_cdf(0.025)
