"""A learning curve for each class, and which class more images are predicted to help most."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vitrail.explain.trust.bootstrap import LEAST
from vitrail.report.statistics import Doubles
from vitrail.study import splits
from vitrail.study.compare_work import Work
from vitrail.study.learning import Curves, at
from vitrail.study.statistics.curves import FEWEST, fit_curve
from vitrail.study.statistics.joint import Array, Joint, of_means
from vitrail.study.statistics.labels import Gain, label_next

MORE = 300
"""Images more of one class, of which it is asked what they would bring."""
MOST = 60
"""Classes that get a curve: those with most wrong images, the only ones that can gain most."""
RESAMPLES = 500


@dataclass(frozen=True)
class Labelling:
    """Of one model: classes by what more images of each would bring.  left_out: classes without a curve, and why.

    missing: why there is nothing at all, "" where there is.
    """

    label: str
    gains: tuple[Gain, ...] = ()
    left_out: Mapping[str, str] | None = None
    missing: str = ""


def labelling(work: Work, curves: Curves, label: str) -> Labelling:
    """Which class to label next for a model that has a curve; said to be missing for what is no classification."""
    task = work.ground.task
    if task.name != "classify":
        return Labelling(
            label, missing=f"Which class to label next is told of single classes alone, not of {task.name}."
        )
    if len(curves.fractions) < FEWEST or curves.found is None or curves.of is None:
        return Labelling(label, missing=f"Which class to label next needs {FEWEST} sizes or more.")
    found, of = curves.found, curves.of
    items = work.ground.data.source.items
    by_key = {item.key: str(item.target) for item in items}
    truth = np.array([by_key[key] for key in found.keys])
    right = {fraction: [each[:, 0] for each in of[at(label, fraction)]] for fraction in curves.fractions}
    sizes = _sizes(work, curves.fractions)
    names, counts = np.unique(truth, return_counts=True)
    tested = dict(zip(names.tolist(), counts.tolist(), strict=True))
    wrong = {name: float(np.mean([1 - each[truth == name].mean() for each in right[Fraction(1)]])) for name in tested}
    order = sorted(tested, key=lambda name: -wrong[name] * tested[name])
    left_out = {name: f"others have more wrong images than its {tested[name]}" for name in order[MOST:]}
    made = {}
    for name in order[:MOST]:
        where = [sizes[fraction][name] for fraction in curves.fractions]
        if tested[name] < LEAST:
            left_out[name] = f"{tested[name]} images of it were tested, fewer than {LEAST}"
        elif where[0] <= 0 or (np.diff(where) <= 0).any():
            left_out[name] = "its parts have no more images from one to the next"
        else:
            made[name] = fit_curve(where, _errors(right, truth == name, found.groups))
    if len(made) < 2:
        return Labelling(label, (), left_out, "Too few classes have images enough for curves of their own.")
    shares = {name: tested[name] / len(truth) for name in made}
    return Labelling(label, tuple(label_next(made, shares, MORE)), left_out)


def _errors(right: Mapping[Fraction, Sequence[Doubles]], own: Array, groups: Array | None) -> Joint:
    """The share of a class's images that is wrong, at every size, smallest first. own (n,): which images are its."""
    outcomes = {str(fraction): np.stack([each[own] for each in seeds]) for fraction, seeds in right.items()}
    return of_means(outcomes, None if groups is None else groups[own], RESAMPLES).errors()


def _sizes(work: Work, fractions: Sequence[Fraction]) -> dict[Fraction, dict[str, float]]:
    """Training images of each class in each part, the mean over seeds."""
    data, config = work.ground.data, work.ground.config.data
    seeds = max(1, min((len(done) for done in work.full.values()), default=1))
    made: dict[Fraction, dict[str, float]] = {}
    for fraction in fractions:
        counts: Counter[str] = Counter()
        for seed in range(seeds):
            division = splits.part(data, work.ground.task.name, fraction, seed, config.stratify)
            counts.update(str(data.source.items[index].target) for index in division["train"])
        made[fraction] = defaultdict(float, {name: count / seeds for name, count in counts.items()})
    return made
