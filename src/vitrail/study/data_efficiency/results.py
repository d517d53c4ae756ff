"""What the finished cells say: who leads at which size, what more images would bring, and to which class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from vitrail.errors import TrainingError
from vitrail.study.compare_work import Work
from vitrail.study.data_efficiency.classes import Labelling, labelling
from vitrail.study.learning import AHEAD, Curves, Learned, at, curves_of, measured_by, split_of
from vitrail.study.outcomes import MEASURES, Scored
from vitrail.study.statistics.crossing import Crossing, crossing
from vitrail.study.statistics.curves import Curve
from vitrail.study.statistics.differences import Comparison, compare
from vitrail.study.statistics.intervals import Interval, between
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.recommendation import Measure, seen_from


@dataclass(frozen=True)
class Lead:
    """Who has the best score with so many training images, and the others' distance behind it, nearest first."""

    images: int
    leader: str
    score: Interval
    behind: tuple[Comparison, ...]

    @property
    def rivals(self) -> tuple[str, ...]:
        """Models that it is not surely better than."""
        return tuple(one.second for one in self.behind if one.verdict != "better")

    @property
    def sure(self) -> bool:
        """Whether it is better than all others."""
        return bool(self.behind) and not self.rivals


@dataclass(frozen=True)
class Results(Scored):
    """Everything that is said.

    leads: at each size, smallest first.  gains: model -> multiple of the images -> what that is predicted to bring,
    positive, in the score's unit.  crossings: of each other model with the one that leads on all images.
    missing: model -> why it has no curve.
    """

    learned: tuple[Learned, ...]
    fractions: tuple[Fraction, ...]
    leads: tuple[Lead, ...]
    gains: Mapping[str, Mapping[int, Interval]]
    crossings: tuple[Crossing, ...]
    labelling: Labelling
    missing: Mapping[str, str]


def results(work: Work) -> Results:
    """What the curves of all models say that were trained on every part; TrainingError where there is none."""
    split, labels = split_of(work), work.whole()
    task = work.ground.task.name
    curves = curves_of(work, labels, split, MEASURES[task])
    missing = _missing(work, [one.label for one in curves.learned])
    if curves.joint is None or curves.found is None:
        name, why = next(iter(missing.items()))
        raise TrainingError(f"no model could be trained on every part of the images: {name}: {why}")
    told = [one.label for one in curves.learned]
    measure = measured_by(work, curves.joint.select([at(label, Fraction(1)) for label in told]))
    best = lead(0, _alone(curves.joint, told, Fraction(1)), measure).leader
    said = of_curves(curves, measure, labelling(work, curves, best), missing)
    return replace(said, task=task, split=split, unit=curves.found.unit, lost=curves.found.lost)


def of_curves(curves: Curves, measure: Measure, labelled: Labelling, missing: Mapping[str, str]) -> Results:
    """What curves say by themselves: of a classification's test images where nothing else is said."""
    joint, told = curves.joint, [one.label for one in curves.learned]
    assert joint is not None, "there are curves"
    leads = tuple(
        lead(curves.learned[0].sizes[place], _alone(joint, told, fraction), measure)
        for place, fraction in enumerate(curves.fractions)
    )
    return Results(
        "classify", "test", measure, joint.count, joint.units, "test images", 0, curves.learned, curves.fractions,
        leads, {one.label: {times: gain(one.curve, times) for times in AHEAD} for one in curves.learned if one.curve},
        crossings(curves.learned, leads[-1].leader), labelled, missing,
    )  # fmt: skip


def lead(images: int, joint: Joint, measure: Measure) -> Lead:
    """Who leads among the models of a joint of scores."""
    sign = 1.0 if measure.better == "higher" else -1.0
    leader = max(joint.names, key=lambda name: sign * float(joint.values[joint.index(name)]))
    found = compare(joint, measure.minimal, measure.better)
    return Lead(images, leader, joint.interval(leader), seen_from(found, leader))


def gain(curve: Curve, times: int) -> Interval:
    """How much lower the law says the error is with so many times the largest size, draw by draw."""
    ends = np.array([curve.largest, times * curve.largest])
    law, draws = curve.law.at(ends), curve.draws.at(ends)
    return between(float(law[0, 0] - law[0, 1]), draws[:, 0] - draws[:, 1])


def crossings(learned: Sequence[Learned], best: str) -> tuple[Crossing, ...]:
    """Where each other model is predicted to pass the one that leads on all images."""
    curves = {one.label: one.curve for one in learned if one.curve is not None}
    if best not in curves:
        return ()
    return tuple(crossing((name, best), curve, curves[best]) for name, curve in curves.items() if name != best)


def _alone(joint: Joint, labels: Sequence[str], fraction: Fraction) -> Joint:
    """The scores on one part, named by the models alone."""
    return replace(joint.select([at(label, fraction) for label in labels]), names=tuple(labels))


def _missing(work: Work, told: Sequence[str]) -> dict[str, str]:
    """Models without a curve, and the first reason why."""
    made = {}
    for entry in work.asked.entries:
        if entry.label not in told:
            every = [*work.full.get(entry.label, []), *(d for p in work.parts.get(entry.label, {}).values() for d in p)]
            made[entry.label] = next((done.reason for done in every if done.run is None), "it was not trained")
    return made


def summary(found: Results, said: Sequence[str]) -> dict[str, Any]:
    """For results.json and --json: all that was found, without the draws and with the sentences first."""
    return {
        **found.record(said),
        "fractions": [str(fraction) for fraction in found.fractions],
        "curves": {one.label: _told(one) for one in found.learned},
        "leads": list(found.leads),
        "gains": found.gains,
        "crossings": list(found.crossings),
        "label_next": found.labelling,
        "missing": dict(found.missing),
    }


def _told(one: Learned) -> dict[str, Any]:
    return {
        "sizes": list(one.sizes), "scores": list(one.scores), "ahead": dict(one.ahead),
        "law": one.curve.parameters if one.curve else None, "hidden": one.hidden,
        "hidden_held": one.hidden.held if one.hidden else None,
    }  # fmt: skip
