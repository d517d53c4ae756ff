"""What the finished cells of a comparison say: scores with intervals, differences, curves, one recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.study import outcomes
from vitrail.study.compare_work import Work
from vitrail.study.learning import AHEAD as AHEAD
from vitrail.study.learning import Learned as Learned
from vitrail.study.learning import curves_of, measured_by, runs_of, split_of
from vitrail.study.learning import turned as turned
from vitrail.study.measure import Measured
from vitrail.study.outcomes import Outcomes
from vitrail.study.runner import Done
from vitrail.study.statistics.candidates import Cost, comparable, pareto
from vitrail.study.statistics.differences import Comparison, Verdict, compare
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.recommendation import Measure, Recommendation, recommend
from vitrail.study.statistics.words import sentences


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
    split = split_of(work)
    joint, found, measure = (_of_folds if asked.folds else _of_seeds)(work, labels, split)
    costs = {label: _cost(work.measured[label]) for label in labels if label in work.measured}
    learned = () if asked.folds else curves_of(work, labels, split, measure).learned
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
        tuple(sentences(recommendation)), learned, tuple(best), kind,
    )  # fmt: skip


def _of_seeds(work: Work, labels: Sequence[str], split: str) -> tuple[Joint, Outcomes, Measure]:
    """All full runs on the one test split; as many seeds of each model as the fewest have."""
    count = min(len(work.full[label]) for label in labels)
    every = {name: run for label in labels for name, run in runs_of(work.full[label][:count]).items()}
    found = outcomes.gather(every, split, work.ground.known.source)
    of = {label: [found.values[name] for name in runs_of(work.full[label][:count])] for label in labels}
    joint = outcomes.joint_of(work.ground.task, of, found.groups)
    return joint, found, measured_by(work, joint)


def _of_folds(work: Work, labels: Sequence[str], split: str) -> tuple[Joint, Outcomes, Measure]:
    """Scores of repeats x folds; each fold's images are the same for all models."""
    of = {
        label: [outcomes.gather({name: run}, split).values[name] for name, run in runs_of(work.full[label]).items()]
        for label in labels
    }
    judged = min(sum(map(len, each[: work.asked.folds])) for each in of.values())
    joint = outcomes.joint_of_folds(work.ground.task, of, work.asked.folds, judged)
    unit = Outcomes((), {}, np.zeros(0) if any(i.group is not None for i in work.ground.data.source.items) else None, 0)
    return joint, unit, measured_by(work, joint)


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
        test = outcomes.score_of(work.ground.task, read)
    return Point(done.cell.name, metrics.get("val", {}).get(name), test, done.seconds)


def leading_first(one: Comparison) -> Comparison:
    """The comparison with the better of the two first, as they were seen."""
    if not one.together.value < 0:
        return one
    turn: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
    alone, together = one.alone.scaled(-1), one.together.scaled(-1)
    return Comparison(one.second, one.first, alone, together, turn.get(one.verdict, one.verdict))


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
