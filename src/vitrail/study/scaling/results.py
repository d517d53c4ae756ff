"""What the finished cells say: the error of every size with every budget, the best size for each, and the law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrail.cost.count import parameters
from vitrail.errors import TrainingError
from vitrail.run.building import make_model
from vitrail.run.prepare import make_task
from vitrail.study import outcomes
from vitrail.study.learning import measured_by, runs_of, split_of
from vitrail.study.scaling.sizes import Shape
from vitrail.study.scaling.work import WorkOnSizes
from vitrail.study.statistics.budgets import BestGrowth, Optimum, best_size, growth_of_best
from vitrail.study.statistics.curves import FEWEST, Curve, Hidden, fit_curve, hide_largest
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import Joint

SIZES = 4
"""Sizes that a parabola needs to have a misfit."""


@dataclass(frozen=True)
class Sized:
    """A size that was trained with every budget. flops: of training on one image.  scale: as in `Shape`."""

    shape: Shape
    parameters: int
    flops: float

    @property
    def label(self) -> str:
        """Of its shape."""
        return self.shape.label


@dataclass(frozen=True)
class Spent:
    """One budget. flops: that every size was to have.  each: label -> what it had, after rounding.  errors, seen: label
    -> error, and how often it went over all training images.  best: the label with the lowest error.  optimum: the
    best size as fitted, in parameters; None for fewer than 4 sizes.
    """

    flops: float
    each: Mapping[str, float]
    errors: Mapping[str, Interval]
    seen: Mapping[str, float]
    best: str
    optimum: Optimum | None


@dataclass(frozen=True)
class Fitted:
    """The law of the lowest error over budgets. shifted: whether d was free, which takes five budgets.

    hidden: the largest budget predicted from the others, None where they are too few.
    """

    curve: Curve
    shifted: bool
    hidden: Hidden | None

    @property
    def holds(self) -> int:
        """Budgets whose error the law is within a fifth of, or a point: a plain measure of whether the form fits."""
        said = self.curve.law.at(self.curve.sizes)[0]
        near = [abs(a - b) <= max(0.01, 0.2 * b) for a, b in zip(said, self.curve.errors, strict=True)]
        return sum(near)


@dataclass(frozen=True)
class Results(outcomes.Scored):
    """Everything that is said. Errors are 1 - score of scores where higher is better.

    growth: of the best size with the budget, None where it was not fitted.  missing: label -> why that size is left
    out.
    """

    sizes: tuple[Sized, ...]
    budgets: tuple[Spent, ...]
    law: Fitted | None
    growth: BestGrowth | None
    missing: Mapping[str, str]


def results(work: WorkOnSizes) -> Results:
    """What the sizes say of which every cell finished; TrainingError where there is none."""
    split, labels = split_of(work), work.whole()
    count = _whole_budgets(work, labels)
    done = {(label, budget): work.at[label, budget] for label in labels for budget in range(count)}
    seeds = min(len(each) for each in done.values())
    runs = {name: run for each in done.values() for name, run in runs_of(each[:seeds]).items()}
    found = outcomes.gather(runs, split, work.ground.known.source)
    of = {at(*key): [found.values[name] for name in runs_of(each[:seeds])] for key, each in done.items()}
    joint = outcomes.joint_of(work.ground.task, of, found.groups)
    measure = measured_by(work, joint)
    errors = joint.errors() if measure.better == "higher" else joint
    sizes = tuple(_sized(work, shape) for shape in work.sizes.shapes if shape.label in labels)
    budgets = tuple(spent(work, sizes, errors, budget) for budget in range(count))
    missing = {
        label: next(one.reason for one in each if one.run is None)
        for label, each in work.full.items() if label not in labels
    }  # fmt: skip
    return Results(
        work.ground.task.name, split, measure, seeds, joint.units, found.unit, found.lost, sizes, budgets,
        law(budgets, errors), growth(budgets), missing,
    )  # fmt: skip


def at(label: str, budget: int) -> str:
    """The name of an error in a joint."""
    return f"{label} with budget {budget + 1}"


def spent(work: WorkOnSizes, sizes: Sequence[Sized], errors: Joint, budget: int) -> Spent:
    """What a budget gave at every size."""
    labels = [size.label for size in sizes]
    names = [at(label, budget) for label in labels]
    scored = {label: errors.interval(name) for label, name in zip(labels, names, strict=True)}
    best = min(labels, key=lambda label: scored[label].value)
    optimum = best_size([size.parameters for size in sizes], errors.select(names)) if len(sizes) >= SIZES else None
    each = {label: work.flops(label, budget) for label in labels}
    seen = {label: work.epochs(label, budget) for label in labels}
    return Spent(sum(each.values()) / len(each), each, scored, seen, best, optimum)


def law(budgets: Sequence[Spent], errors: Joint) -> Fitted | None:
    """The law of the lowest error of any size over the budgets; None for fewer than four budgets.

    The lowest of several measured errors is a little lower than the truth; where sizes are close, so is that.
    """
    if len(budgets) < FEWEST:
        return None
    shifted = len(budgets) > FEWEST
    where = [budget.flops for budget in budgets]
    own = errors.select([at(budget.best, place) for place, budget in enumerate(budgets)])
    free = len(budgets) > FEWEST + 1  # one budget less must still determine the law
    hidden = hide_largest(where, own, free) if len(budgets) > FEWEST else None
    return Fitted(fit_curve(where, own, shifted), shifted, hidden)


def growth(budgets: Sequence[Spent]) -> BestGrowth | None:
    """How the best size grows with the budget; None where it was not fitted at two budgets."""
    optima = [budget.optimum for budget in budgets if budget.optimum is not None]
    if len(optima) < 2 or len(optima) < len(budgets):
        return None
    return growth_of_best([budget.flops for budget in budgets], optima)


def _whole_budgets(work: WorkOnSizes, labels: Sequence[str]) -> int:
    """Budgets that every size was trained with, from the smallest on."""
    every = len(work.plan.ask.lengths)
    count = next((b for b in range(every) if any((label, b) not in work.at for label in labels)), every)
    if not count or not labels:
        raise TrainingError("no budget was finished by every size: nothing can be said")
    return count


def _sized(work: WorkOnSizes, shape: Shape) -> Sized:
    config = work.ground.plans[shape.label].config
    model = make_model(config, make_task(config, work.ground.data), None)
    return Sized(shape, parameters(model), work.paces[shape.label].flops)


def summary(found: Results, said: Sequence[str]) -> dict[str, Any]:
    """For results.json and --json: all that was found, without the draws and with the sentences first."""
    return {
        **found.record(said),
        "sizes": {size.label: {**vars(size.shape), "parameters": size.parameters, "flops_per_image": size.flops}
                  for size in found.sizes},
        "budgets": list(found.budgets),
        "law": None if found.law is None else {
            "parameters": found.law.curve.parameters, "shifted": found.law.shifted, "hidden": found.law.hidden,
            "hidden_held": found.law.hidden.held if found.law.hidden else None,
        },
        "growth_of_best": found.growth.exponent if found.growth else None,
        "missing": dict(found.missing),
    }  # fmt: skip
