"""Made-up studies of data efficiency and of scaling, whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from vitrail.study.data_efficiency.classes import Labelling
from vitrail.study.data_efficiency.results import Results, of_curves
from vitrail.study.learning import Curves, at, learned_from
from vitrail.study.statistics.joint import Joint, of_means
from vitrail.study.statistics.recommendation import Measure

FRACTIONS = tuple(Fraction(1, 2**power) for power in (4, 3, 2, 1, 0))
IMAGES = (100, 200, 400, 800, 1600)


def scores(truth: Mapping[str, float], seeds: int = 3, images: int = 4000) -> Joint:
    """Accuracies as a test set would show them: the harder an image, the more models are wrong on it."""
    rng = np.random.default_rng(0)
    hard = rng.permutation(images) / images
    made = {}
    for name, error in truth.items():
        noise = rng.normal(size=(seeds, images)) * 0.02
        made[name] = (hard + noise > error).astype(np.float64)
    return of_means(made, resamples=300)


def study(errors: Mapping[str, Sequence[float]], seeds: int = 3, images: int = 4000, minimal: float = 0.01) -> Results:
    """What curves with these errors (5,) at `IMAGES` say."""
    names = {at(label, f): error for label, own in errors.items() for f, error in zip(FRACTIONS, own, strict=True)}
    joint, measure = scores(names, seeds, images), Measure(minimal=minimal)
    learned = learned_from(joint, list(errors), FRACTIONS, IMAGES, measure)
    return of_curves(Curves(learned, FRACTIONS, joint), measure, Labelling("", missing="No classes."), {})
