"""Scores of repeated k-fold cross-validation: its training sets overlap, so its folds are not so many opinions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.seeding import generator
from vitrail.study.statistics.joint import IMAGINED, RESAMPLES, Joint


def of_folds(
    scores: Mapping[str, Doubles], folds: int, images: int, right_or_wrong: bool = False, resamples: int = RESAMPLES
) -> Joint:
    """Mean scores of models over repeats x folds, with draws whose variance has Nadeau and Bengio's correction.

    scores: model -> (repeats, k), each fold's score under one model trained on the others; the same folds for all
    models. The variance of a mean over J = repeats x k folds is (1 / J + test / train) times that between folds, with
    J - 1 degrees of freedom (Nadeau and Bengio 2003, equation 9; repeated: Bouckaert and Frank 2004). Any difference of
    two models has exactly their interval. Chance of seeds is inside: every fold is another training.

    right_or_wrong: scores are shares of images that were right. They gain two imagined images, as `joint.of_means` has
    them, so that models that were right on the same images still differ by something that may be.

    Raises ValueError where models have other folds, or fewer than 2.
    """
    names = tuple(scores)
    if len({np.shape(array) for array in scores.values()}) != 1 or np.shape(scores[names[0]])[1] != folds or folds < 2:
        raise ValueError(f"Each model needs scores (repeats, {folds}) of the same {folds} folds, at least 2.")
    table = np.stack([np.asarray(array, np.float64).ravel() for array in scores.values()], axis=1)  # (J, M)
    count = len(table)
    means = table.mean(axis=0)
    if not np.isfinite(table).all():  # a fold may lack every label: nothing is known of what else the mean could be
        known, none = np.isfinite(table), np.zeros(len(names))
        means = np.where(known, table, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        unknown = np.full((resamples, len(names)), np.nan)
        return Joint(names, means, unknown, np.zeros_like(unknown), none, none, images, count // folds, folds)
    _, scale, axes = np.linalg.svd(table - means, full_matrices=False)
    spread = scale[:, None] * axes  # (k, M): its products are the folds' sums of squares and products
    share = 1 / count + 1 / (folds - 1)  # test / train = (n / k) / (n - n / k)
    draws = means + np.sqrt(share) * _standard(len(scale), count - 1, resamples) @ spread
    if right_or_wrong:
        rng = generator("imagined", images)
        coins = rng.integers(0, 2, (resamples, IMAGINED, len(names)))
        extra = rng.poisson(1.0, (resamples, IMAGINED))  # how often a drawing has each of them
        draws = (draws * images + (extra[..., None] * coins).sum(axis=1)) / (images + extra.sum(axis=1))[:, None]
    none = np.zeros(len(names))
    return Joint(names, means, draws, np.zeros_like(draws), none, none, images, count // folds, folds)


def _standard(dimensions: int, freedom: int, resamples: int) -> Doubles:
    """Draws (R, k) that are N(0, 1) / sqrt(chi-square of `freedom`) in every direction, each direction with its own.

    Normal draws whose covariance is drawn as well (inverse Wishart, by Bartlett's decomposition): two differences of
    models do not share one uncertain variance, so the farthest of several lies farther out than if they did.
    """
    rng = generator("folds", dimensions, freedom)
    lower = np.tril(rng.normal(size=(resamples, dimensions, dimensions)), -1)
    degrees = freedom + dimensions - 1 - np.arange(dimensions)
    lower[:, np.arange(dimensions), np.arange(dimensions)] = np.sqrt(rng.chisquare(degrees, (resamples, dimensions)))
    normal = rng.normal(size=(resamples, dimensions, 1))
    return np.asarray(np.linalg.solve(lower.transpose(0, 2, 1), normal)[..., 0], np.float64)
