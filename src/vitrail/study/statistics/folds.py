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
    rng = generator("folds", count)
    normal = rng.normal(size=(resamples, count)) @ (table - means) / np.sqrt(count - 1)  # has the folds' covariance
    share = 1 / count + 1 / (folds - 1)  # test / train = (n / k) / (n - n / k)
    draws = means + normal * np.sqrt(share * (count - 1) / rng.chisquare(count - 1, (resamples, 1)))
    none = np.zeros(len(names))
    return Joint(names, means, draws, np.zeros_like(draws), none, none, images, count // folds, folds)
