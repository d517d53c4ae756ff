"""What the finished cells of a comparison say: scores with intervals, differences, curves, one recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vitrail.study import outcomes
from vitrail.study.compare_work import Work
from vitrail.study.learning import Learned, curves_of, measured_by, runs_of, split_of
from vitrail.study.measure import Measured
from vitrail.study.outcomes import SPOKEN, Blind, Outcomes
from vitrail.study.runner import Done
from vitrail.study.statistics.candidates import Cost, comparable, pareto
from vitrail.study.statistics.differences import Comparison, Verdict, compare
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.recommendation import Measure, Recommendation, recommend
from vitrail.study.statistics.words import scored, sentences


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
    """Everything that is said. split: that scores are from.  said: the recommendation in sentences.  blind: one who
    never looks, None where that has no score.  untaught: models that are not clearly better than that.
    """

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
    blind: Blind | None = None
    untaught: tuple[str, ...] = ()


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
    unseeing, untaught = _blind(work, found), tuple[str, ...]()
    if unseeing is not None:
        untaught = tuple(label for label in labels if not _clears(joint.interval(label), unseeing, measure))
    # a curve of what was not learned predicts nothing
    changes = tuple(one for one in recommendation.changes if not {one.first, one.second} & set(untaught))
    recommendation = replace(recommendation, changes=changes)
    if unseeing is not None and len(untaught) == len(labels):
        recommendation = replace(recommendation, choice=None, reason="cannot tell", sure=None, rivals=(), needed=())
    opening, *rest = sentences(recommendation)
    if unseeing is not None and len(untaught) == len(labels):
        opening = none_yet(unseeing, measure, split)
    said = (opening, standing(recommendation, joint.interval(recommendation.about), split), *rest)
    return Results(
        ground.task.name, split, measure, joint.units, found.lost, rows, compared, recommendation, said, learned,
        tuple(best), kind, unseeing, untaught,
    )  # fmt: skip


def standing(found: Recommendation, score: Interval, split: str) -> str:
    """How good the model is that is spoken of."""
    measure = found.measure
    whose = "Its" if found.choice else f"{found.leading}'s"
    unit = " percent" if measure.scale == 100 else f" {measure.unit}".rstrip()
    runs = f"{found.seeds} x {found.folds} folds" if found.folds else f"{found.seeds} seed{'s'[: found.seeds > 1]}"
    value, of = f"{whose} {split} {SPOKEN[measure.name]} is", f"{runs}, {found.images:,} {found.unit}"
    if not score.known:
        return f"{value} {scored(score, measure).partition(' (')[0]}{unit} ({of}), too few to say how sure that is."
    return f"{value} {scored(score, measure)}{unit} (95 %, {of})."


def none_yet(unseeing: Blind, measure: Measure, split: str) -> str:
    """What is said where no model has learned anything that shows."""
    score = f"{unseeing.score * measure.scale:.1f}" if measure.scale == 100 else f"{unseeing.score:.3g}"
    return (
        f"Take none of these yet: none is clearly better than {unseeing.what} would be ({split} {SPOKEN[measure.name]}"
        f" {score}). Train longer or on more images, and see whether the labels can be told from the images at all."
    )


def _blind(work: Work, found: Outcomes) -> Blind | None:
    of = {item.key: item.target for item in work.ground.known.source.items}
    values = next(iter(found.values.values()))
    return outcomes.blind(work.ground.task, values, [of[key] for key in found.keys], work.ground.data.targets("train"))


def _clears(score: Interval, unseeing: Blind, measure: Measure) -> bool:
    """Whether a score is better than that of one who never looks, whatever else it could be."""
    if measure.better == "higher":
        return (score.low if score.known else score.value) > unseeing.score
    return (score.high if score.known else score.value) < unseeing.score


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
    read = {
        label: [outcomes.gather({label: run}, split) for run in runs_of(work.full[label]).values()] for label in labels
    }
    of = {label: [each.values[label] for each in every] for label, every in read.items()}
    once = min(
        (every[: work.asked.folds] for every in read.values()), key=lambda every: sum(len(e.keys) for e in every)
    )
    keys = tuple(key for each in once for key in each.keys)
    joint = outcomes.joint_of_folds(work.ground.task, of, work.asked.folds, len(keys))
    values = {labels[0]: np.concatenate([next(iter(each.values.values())) for each in once])}
    groups = np.zeros(0) if any(i.group is not None for i in work.ground.data.source.items) else None
    found = Outcomes(keys, values, groups, work.ground.images - len(keys))
    return joint, found, measured_by(work, joint)


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
    test = None
    if done.run is not None:
        read = outcomes.gather({"": done.run}, split).values[""]
        test = outcomes.score_of(work.ground.task, read)
    return Point(done.cell.name, done.val(work.ground.task.headline), test, done.seconds)


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
        "blind": found.blind,
        "untaught": list(found.untaught),
    }


def _told(row: Row) -> dict[str, Any]:
    own = {name: getattr(row, name) for name in ("model", "score", "val", "rate", "lr", "epochs", "teacher", "failed")}
    return {**own, "full": list(row.full), "measured": row.measured.record() if row.measured else None}


def _told_curve(one: Learned) -> dict[str, Any]:
    parameters = one.curve.parameters if one.curve else None
    return {"sizes": list(one.sizes), "scores": list(one.scores), "ahead": dict(one.ahead), "law": parameters,
            "hidden": one.hidden}  # fmt: skip
