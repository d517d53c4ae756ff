"""Learning curves from a study's cells: scores on nested parts of the training images, their law, what it predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.run import Run
from vitrail.study import outcomes
from vitrail.study.compare_work import Work
from vitrail.study.outcomes import Outcomes
from vitrail.study.runner import Done
from vitrail.study.statistics.curves import FEWEST, Curve, Hidden, fit_curve, hide_largest
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.recommendation import Measure

AHEAD = (2, 10)
"""Multiples of the training images at which scores are predicted."""


@dataclass(frozen=True)
class Learned:
    """A learning curve. sizes: training images.  scores: at each.  ahead: multiple of all images -> predicted score.

    curve: None where there are too few sizes.  hidden: the largest size predicted from the others, None for too few.
    """

    label: str
    sizes: tuple[int, ...]
    scores: tuple[Interval, ...]
    curve: Curve | None
    ahead: Mapping[int, Interval]
    hidden: Hidden | None


@dataclass(frozen=True)
class Curves:
    """The curves of several models. joint: of all their scores, named by `at`, None where there are none.

    found: the outcomes.  of: the name in `joint` -> outcomes (n, k) of each seed.
    """

    learned: tuple[Learned, ...]
    fractions: tuple[Fraction, ...] = ()
    joint: Joint | None = None
    found: Outcomes | None = None
    of: Mapping[str, Sequence[Doubles]] | None = None


def split_of(work: Work) -> str:
    """test, or val where the data names no test."""
    return "test" if work.asked.folds or len(work.ground.data.split.test) else "val"


def runs_of(done: Sequence[Done]) -> dict[str, Run]:
    """Cell -> run, of those that finished."""
    return {one.cell.name: one.run for one in done if one.run is not None}


def measured_by(work: Work, joint: Joint) -> Measure:
    """What is compared, and the least difference that matters, of an error in the target's unit."""
    task = work.ground.task
    best = float(np.nanmin(joint.values)) if np.isfinite(joint.values).any() else 0.0
    return outcomes.measure_of(task, work.asked.minimal, best)


def curves_of(work: Work, labels: Sequence[str], split: str, measure: Measure) -> Curves:
    """A curve for each model of which every part was trained; all from one joint, so that they can be compared."""
    fractions = sorted({fraction for parts in work.parts.values() for fraction in parts})
    told = [label for label in labels if fractions and _complete(work, label, fractions)]
    if not told:
        return Curves(())
    seeds = len(work.parts[told[0]][fractions[0]])
    every = (*fractions, Fraction(1))
    done = {
        at(label, fraction): work.parts[label][fraction] if fraction != 1 else work.full[label][:seeds]
        for label in told for fraction in every
    }  # fmt: skip
    found = outcomes.gather(
        {n: r for each in done.values() for n, r in runs_of(each).items()}, split, work.ground.known.source
    )
    of = {name: [found.values[cell] for cell in runs_of(each)] for name, each in done.items()}
    joint = outcomes.joint_of(work.ground.task, of, found.groups)
    sizes = [_images(work.parts[told[0]][fraction][0]) for fraction in fractions]
    sizes.append(len(work.ground.data.indices("train")))
    return Curves(learned_from(joint, told, every, sizes, measure), every, joint, found, of)


def learned_from(
    joint: Joint, labels: Sequence[str], fractions: Sequence[Fraction], sizes: Sequence[int], measure: Measure
) -> tuple[Learned, ...]:  # fmt: skip
    """The curves of these models. joint: of scores, named by `at`.  sizes: images at each fraction, ascending."""
    errors = joint.errors() if measure.better == "higher" else joint
    return tuple(_curve(label, fractions, sizes, joint, errors, measure) for label in labels)


def at(label: str, fraction: Fraction) -> str:
    """The name of a model's score on a part, in a joint."""
    return f"{label} on {fraction}"


def turned(error: Interval, measure: Measure) -> Interval:
    """A score from the error that a law predicts: 1 - error of scores that are shares, itself of errors."""
    if measure.better == "lower":
        return error
    return Interval(1 - error.value, 1 - error.high, 1 - error.low)


def _complete(work: Work, label: str, fractions: Sequence[Fraction]) -> bool:
    parts = work.parts.get(label, {})
    return all(fraction in parts and all(one.run is not None for one in parts[fraction]) for fraction in fractions)


def _images(done: Done) -> int:
    assert done.run is not None, "only complete curves are asked"
    return int(done.run.data["images"]["train"])


def _curve(
    label: str, fractions: Sequence[Fraction], sizes: Sequence[int], joint: Joint, errors: Joint, measure: Measure
) -> Learned:  # fmt: skip
    names = [at(label, fraction) for fraction in fractions]
    scores = tuple(joint.interval(name) for name in names)
    own, where = errors.select(names), [float(size) for size in sizes]
    curve = hidden = None
    ahead: dict[int, Interval] = {}
    if len(sizes) >= FEWEST and len(set(sizes)) == len(sizes):
        curve = fit_curve(where, own)
        ahead = {times: turned(curve.predict(times * where[-1]), measure) for times in AHEAD}
        hidden = hide_largest(where, own) if len(sizes) > FEWEST else None
    return Learned(label, tuple(sizes), scores, curve, ahead, hidden)
