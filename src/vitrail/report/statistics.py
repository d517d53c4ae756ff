"""The small statistics a report needs: intervals, confusion, per-class scores, calibration. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.contracts import Floats
from vitrail.seeding import generator

Counts = np.ndarray[Any, np.dtype[np.int64]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]
Array = np.ndarray[Any, Any]

RESAMPLES, FEWEST, MOST_DRAWN = 1000, 200, 20_000_000
"""Resamples of a bootstrap; of very many images fewer do, whose interval is narrow anyway."""
_CELLS = 4_000_000
"""Numbers of one block of resamples: some tens of megabytes."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, of a fraction in [0, 1] or of an error in its unit."""

    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's 95 % score interval of a fraction; (0, 1) where nothing was tried.

    It says how far chance in drawing the images may have moved the figure, not how far a new seed would. Unlike the
    normal interval it stays inside [0, 1] and holds for few images (Wilson 1927; Brown, Cai and DasGupta 2001).
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    z = 1.959963984540054
    share, scale = successes / trials, 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Interval(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap(sums: Doubles, statistics: Callable[[Doubles], Doubles]) -> list[Interval | None]:
    """The percentile bootstrap's 95 % intervals of statistics of sums over images; None where none is defined.

    sums (n, k): what each image adds.  statistics: sums over resamples (R, k) -> (R, s), NaN where not defined.
    Images are drawn with replacement, whole: pixels of one image are no independent draws. The draws are seeded, so the
    same figures give the same intervals. Efron and Tibshirani 1993, chapter 13.
    """
    rows = np.concatenate([statistics(drawn @ sums) for drawn in draws(len(sums))])
    return [between(column) for column in rows.T]


def draws(images: int, most: int = RESAMPLES) -> Iterator[Doubles]:
    """How often each image stands in each of up to `most` draws with replacement, in blocks of (R, n)."""
    assert images > 0
    rng = generator("bootstrap", images)
    resamples = max(FEWEST, min(most, MOST_DRAWN // images))
    block = max(1, min(resamples, _CELLS // images))
    for first in range(0, resamples, block):
        count = min(block, resamples - first)
        yield rng.multinomial(images, np.full(images, 1 / images), size=count).astype(np.float64)


def between(values: Doubles) -> Interval | None:
    """The middle 95 % of resampled values; None where none is finite."""
    known = values[np.isfinite(values)]
    return Interval(*map(float, np.quantile(known, [0.025, 0.975]))) if len(known) else None


def average_precision(scores: Array, present: Array, weights: Doubles | None = None) -> Doubles:
    """Average precision of scores (n,) for images that have a label or not (n,): (R,), NaN where none has it.

    weights (R, n): how often each image counts; None is once each, R = 1. The sum over distinct scores of the recall
    that each adds times the precision there, as scikit-learn has it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, there = scores[order], present[order]
    counted = np.ones((1, len(scores))) if weights is None else weights[:, order]
    last = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))  # equal scores are said together
    right = np.cumsum(counted * there, axis=1)[:, last]  # (R, distinct)
    said = np.cumsum(counted, axis=1)[:, last]
    total = right[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        steps = np.diff(right, axis=1, prepend=0) / np.where(total > 0, total, np.nan)
        areas: Doubles = (steps * np.where(said > 0, right / np.maximum(said, 1), 0.0)).sum(axis=1)
    return areas


def confusion(targets: Counts, predicted: Counts, outputs: int) -> Counts:
    """Counts (Y, Y): row the true class, column the predicted one."""
    return np.bincount(targets * outputs + predicted, minlength=outputs * outputs).reshape(outputs, outputs)


@dataclass(frozen=True)
class ClassScore:
    """How one class fared; fractions are None where they are undefined (no such image, or never predicted).

    mistaken: index of the class its images were most often given wrongly, with `mistakes` of them; None if never.
    """

    index: int
    images: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float
    mistaken: int | None
    mistakes: int


def per_class(matrix: Counts) -> list[ClassScore]:
    """A score per class from the confusion counts (Y, Y). F1 is 0 where nothing was right."""
    scores = []
    images, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    for index in range(len(matrix)):
        right, total, said = int(matrix[index, index]), int(images[index]), int(predicted[index])
        wrong = matrix[index].copy()
        wrong[index] = 0
        worst = int(wrong.argmax())
        mistakes = int(wrong[worst])
        scores.append(
            ClassScore(
                index=index,
                images=total,
                predicted=said,
                precision=right / said if said else None,
                recall=right / total if total else None,
                f1=2 * right / (said + total) if said + total else 0.0,
                mistaken=worst if mistakes else None,
                mistakes=mistakes,
            )
        )
    return scores


@dataclass(frozen=True)
class Confused:
    """A pair of classes: `count` of the `images` of class `true` were taken for class `said`."""

    true: int
    said: int
    count: int
    images: int


def confused_pairs(matrix: Counts, most: int) -> list[Confused]:
    """The `most` largest off-diagonal entries of the confusion counts, largest first; ties in class order."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    images = matrix.sum(axis=1)
    pairs = [divmod(int(flat), len(matrix)) for flat in order]
    return [Confused(t, s, int(wrong[t, s]), int(images[t])) for t, s in pairs if wrong[t, s]]


@dataclass(frozen=True)
class Reliability:
    """Confidence against truth in equal-width bins of confidence over [0, 1]; empty bins have count 0 and NaN means.

    edges (bins + 1,).  count, confidence, accuracy (bins,).  ece: mean |confidence - accuracy|, weighted by count
    (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """

    edges: Floats
    count: Counts
    confidence: Floats
    accuracy: Floats
    ece: float


def reliability(probabilities: Floats, targets: Counts, bins: int = 15) -> Reliability:
    """Top-label calibration of probabilities (n, Y) against targets (n,). Bin i is (i/bins, (i+1)/bins]."""
    edges = np.linspace(0, 1, bins + 1, dtype=np.float32)
    top = probabilities.max(axis=1).astype(np.float32)
    right = probabilities.argmax(axis=1) == targets
    where = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    filled = np.maximum(count, 1)
    confidence = np.where(count, np.bincount(where, weights=top, minlength=bins) / filled, np.nan)
    accuracy = np.where(count, np.bincount(where, weights=right, minlength=bins) / filled, np.nan)
    gap = np.nan_to_num(np.abs(confidence - accuracy))
    ece = float((gap * count).sum() / max(1, count.sum()))
    return Reliability(edges, count, confidence.astype(np.float32), accuracy.astype(np.float32), ece)
