"""Scores of repeated k-fold cross-validation: its training sets overlap, so its folds are not so many opinions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.seeding import generator
from vitrail.study.statistics.joint import RESAMPLES, Joint


def of_folds(scores: Mapping[str, Doubles], folds: int, images: int, resamples: int = RESAMPLES) -> Joint:
    """Mean scores of models over repeats x folds, with draws whose variance has Nadeau and Bengio's correction.

    scores: model -> (repeats, k), each fold's score under one model trained on the others; the same folds for all
    models. The variance of a mean over J = repeats x k folds is (1 / J + test / train) times that between folds, with
    J - 1 degrees of freedom (Nadeau and Bengio 2003, equation 9; repeated: Bouckaert and Frank 2004). Any difference of
    two models has exactly their interval. Chance of seeds is inside: every fold is another training.
    Raises ValueError where models have other folds, or fewer than 2.
    """
    names = tuple(scores)
    if len({np.shape(array) for array in scores.values()}) != 1 or np.shape(scores[names[0]])[1] != folds or folds < 2:
        raise ValueError(f"Each model needs scores (repeats, {folds}) of the same {folds} folds, at least 2.")
    table = np.stack([np.asarray(array, np.float64).ravel() for array in scores.values()], axis=1)  # (J, M)
    count = len(table)
    means = table.mean(axis=0)
    _, scale, axes = np.linalg.svd(table - means, full_matrices=False)
    spread = scale[:, None] * axes  # (k, M): its products are the folds' sums of squares and products
    share = 1 / count + 1 / (folds - 1)  # test / train = (n / k) / (n - n / k)
    draws = means + np.sqrt(share) * _standard(len(scale), count - 1, resamples) @ spread
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
