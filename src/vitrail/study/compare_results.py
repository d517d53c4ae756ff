"""What the finished cells of a comparison say: scores with intervals, differences, curves, one recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from vitrail.run import Run
from vitrail.study import outcomes
from vitrail.study.compare_work import Work
from vitrail.study.measure import Measured
from vitrail.study.outcomes import Outcomes
from vitrail.study.runner import Done
from vitrail.study.statistics.candidates import Cost, comparable, pareto
from vitrail.study.statistics.curves import FEWEST, Curve, Hidden, fit_curve, hide_largest
from vitrail.study.statistics.differences import Comparison, compare
from vitrail.study.statistics.folds import of_folds
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.recommendation import Measure, Recommendation, recommend
from vitrail.study.statistics.words import sentences

AHEAD = (2, 10)
"""Multiples of the training images at which scores are predicted."""


@dataclass(frozen=True)
class Point:
    """A cell's scores: on val, which chose its best epoch, and on test, once."""

    cell: str
    val: float | None
    test: float | None
    seconds: float


@dataclass(frozen=True)
class Row:
    """One model. score: on test, None where it could not be trained.  val: mean over its full runs.  rate: the multiple
    of the recipe's own that was chosen, `lr` as it is.  teacher: who taught it, "" where nobody did.
    """

    label: str
    model: str
    score: Interval | None
    val: float | None
    rate: float
    lr: float | None
    epochs: float
    teacher: str
    full: tuple[Point, ...]
    measured: Measured | None
    failed: str = ""


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
class Results:
    """Everything that is said. split: that scores are from.  said: the recommendation in sentences."""

    task: str
    split: str
    measure: Measure
    images: int
    lost: int
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    recommendation: Recommendation
    said: tuple[str, ...]
    learned: tuple[Learned, ...]
    pareto: tuple[str, ...]
    cost: str
    """The kind of cost that the Pareto picture has, "" where there is none."""


def results(work: Work) -> Results:
    """Compare the models whose full runs all finished. Raises IntegrityError where what a run left is damaged."""
    asked, ground, labels = work.asked, work.ground, work.whole()
    split = _split(work)
    joint, found, measure = (_of_folds if asked.folds else _of_seeds)(work, labels, split)
    costs = {label: _cost(work.measured[label]) for label in labels if label in work.measured}
    learned = [] if asked.folds else _learned(work, labels, split, measure)
    recommendation = recommend(
        joint, measure, costs, {one.label: one.curve for one in learned if one.curve},
        {one.label: one.hidden for one in learned if one.hidden}, found.unit,
    )  # fmt: skip
    compared = tuple(compare(joint, measure.minimal, measure.better))
    kind, prices = comparable(labels, costs)
    sign = 1.0 if measure.better == "higher" else -1.0
    best = pareto({label: sign * joint.interval(label).value for label in labels}, prices) if kind else []
    rows = tuple(_row(work, entry.label, joint, split) for entry in asked.entries)
    return Results(
        ground.task.name, split, measure, joint.units, found.lost, rows, compared, recommendation,
        tuple(sentences(recommendation)), tuple(learned), tuple(best), kind,
    )  # fmt: skip


def _split(work: Work) -> str:
    """test, or val where the data names no test."""
    return "test" if work.asked.folds or len(work.ground.data.split.test) else "val"


def _runs(done: Sequence[Done]) -> dict[str, Run]:
    return {one.cell.name: one.run for one in done if one.run is not None}


def _of_seeds(work: Work, labels: Sequence[str], split: str) -> tuple[Joint, Outcomes, Measure]:
    """All full runs on the one test split; as many seeds of each model as the fewest have."""
    count = min(len(work.full[label]) for label in labels)
    every = {name: run for label in labels for name, run in _runs(work.full[label][:count]).items()}
    found = outcomes.gather(every, split, work.ground.known.source)
    task = work.ground.task.name
    of = {label: [found.values[name] for name in _runs(work.full[label][:count])] for label in labels}
    joint = outcomes.joint_of(task, of, found.groups)
    return joint, found, _measure(work, joint)


def _of_folds(work: Work, labels: Sequence[str], split: str) -> tuple[Joint, Outcomes, Measure]:
    """Scores of repeats x folds; each fold's images are the same for all models."""
    task, folds = work.ground.task.name, work.asked.folds
    scores = {}
    for label in labels:
        runs = _runs(work.full[label])
        each = [outcomes.score_of(task, outcomes.gather({n: r}, split).values[n]) for n, r in runs.items()]
        scores[label] = np.array(each, np.float64).reshape(-1, folds)
    joint = of_folds(scores, folds, work.ground.images)
    unit = Outcomes((), {}, np.zeros(0) if any(i.group is not None for i in work.ground.data.source.items) else None, 0)
    return joint, unit, _measure(work, joint)


def _measure(work: Work, joint: Joint) -> Measure:
    """What is compared, and the least difference that matters, of an error in the target's unit."""
    task = work.ground.task
    best = float(np.nanmin(joint.values)) if np.isfinite(joint.values).any() else 0.0
    made = outcomes.measure_of(task.name, work.asked.minimal, best)
    units: Sequence[str] = getattr(task, "units", ())
    return replace(made, unit=units[0]) if task.name == "regress" and len(units) == 1 else made


def _cost(found: Measured) -> Cost:
    return Cost(found.speed.answer.p50.value * 1e3, found.parameters)


def _row(work: Work, label: str, joint: Joint, split: str) -> Row:
    entry = next(entry for entry in work.asked.entries if entry.label == label)
    done = work.full.get(label, [])
    points = tuple(_point(work, one, split) for one in done)
    first = next((one.run for one in done if one.run is not None), None)
    vals = [point.val for point in points if point.val is not None]
    return Row(
        label=label,
        model=entry.model,
        score=joint.interval(label) if label in joint.names else None,
        val=float(np.mean(vals)) if vals else None,
        rate=work.rates[label],
        lr=first.config.train.lr if first else None,
        epochs=work.plan.epochs[label],
        teacher=entry.teacher or "",
        full=points,
        measured=work.measured.get(label),
        failed=next((one.reason for one in done if one.run is None), ""),
    )


def _point(work: Work, done: Done, split: str) -> Point:
    name = work.ground.task.headline
    metrics = done.run.metrics if done.run else {}
    test = None
    if done.run is not None:
        read = outcomes.gather({"": done.run}, split).values[""]
        test = outcomes.score_of(work.ground.task.name, read)
    return Point(done.cell.name, metrics.get("val", {}).get(name), test, done.seconds)


# ---------------------------------------------------------------------------------------------------- learning curves


def _learned(work: Work, labels: Sequence[str], split: str, measure: Measure) -> list[Learned]:
    """A curve for each model of which every part was trained; all from one joint, so that they can be compared."""
    fractions = sorted({fraction for parts in work.parts.values() for fraction in parts})
    told = [label for label in labels if fractions and _complete(work, label, fractions)]
    if not told:
        return []
    seeds = len(work.parts[told[0]][fractions[0]])
    done = {
        _at(label, fraction): work.parts[label][fraction] if fraction != 1 else work.full[label][:seeds]
        for label in told for fraction in [*fractions, Fraction(1)]
    }  # fmt: skip
    found = outcomes.gather(
        {n: r for each in done.values() for n, r in _runs(each).items()}, split, work.ground.known.source
    )
    of = {name: [found.values[cell] for cell in _runs(each)] for name, each in done.items()}
    joint = outcomes.joint_of(work.ground.task.name, of, found.groups)
    errors = joint.errors() if measure.better == "higher" else joint
    sizes = [_images(work.parts[told[0]][fraction][0]) for fraction in fractions]
    sizes.append(len(work.ground.data.indices("train")))
    return [_curve(label, [*fractions, Fraction(1)], sizes, joint, errors, measure) for label in told]


def _complete(work: Work, label: str, fractions: Sequence[Fraction]) -> bool:
    parts = work.parts.get(label, {})
    return all(fraction in parts and all(one.run is not None for one in parts[fraction]) for fraction in fractions)


def _at(label: str, fraction: Fraction) -> str:
    return f"{label} on {fraction}"


def _images(done: Done) -> int:
    assert done.run is not None, "only complete curves are asked"
    return int(done.run.data["images"]["train"])


def _curve(
    label: str, fractions: Sequence[Fraction], sizes: Sequence[int], joint: Joint, errors: Joint, measure: Measure
) -> Learned:  # fmt: skip
    names = [_at(label, fraction) for fraction in fractions]
    scores = tuple(joint.interval(name) for name in names)
    own, where = errors.select(names), [float(size) for size in sizes]
    curve = hidden = None
    ahead: dict[int, Interval] = {}
    if len(sizes) >= FEWEST and len(set(sizes)) == len(sizes):
        curve = fit_curve(where, own)
        ahead = {times: turned(curve.predict(times * where[-1]), measure) for times in AHEAD}
        hidden = hide_largest(where, own) if len(sizes) > FEWEST else None
    return Learned(label, tuple(sizes), scores, curve, ahead, hidden)


def turned(error: Interval, measure: Measure) -> Interval:
    """A score from the error that a law predicts: 1 - error of scores that are shares, itself of errors."""
    if measure.better == "lower":
        return error
    return Interval(1 - error.value, 1 - error.high, 1 - error.low)


def summary(found: Results) -> dict[str, Any]:
    """For results.json and --json: all that was found, without the draws and with the sentences first."""
    chosen = found.recommendation
    return {
        "recommendation": chosen.choice,
        "leading": chosen.leading,
        "reason": chosen.reason,
        "sure": chosen.sure,
        "said": list(found.said),
        "measure": found.measure,
        "task": found.task,
        "split": found.split,
        "images": found.images,
        "lost": found.lost,
        "models": {row.label: _told(row) for row in found.rows},
        "comparisons": list(found.comparisons),
        "changes": list(chosen.changes),
        "needed": list(chosen.needed),
        "curves": {one.label: _told_curve(one) for one in found.learned},
        "pareto": list(found.pareto),
        "cost": found.cost,
    }


def _told(row: Row) -> dict[str, Any]:
    own = {name: getattr(row, name) for name in ("model", "score", "val", "rate", "lr", "epochs", "teacher", "failed")}
    return {**own, "full": list(row.full), "measured": row.measured.record() if row.measured else None}


def _told_curve(one: Learned) -> dict[str, Any]:
    parameters = one.curve.parameters if one.curve else None
    return {"sizes": list(one.sizes), "scores": list(one.scores), "ahead": dict(one.ahead), "law": parameters,
            "hidden": one.hidden}  # fmt: skip
