"""How fast each model trains here: got ready as its cells will be, tried once, and thrown away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitrail.cost.count import gmacs
from vitrail.distill.teacher import Teacher
from vitrail.run import teachers
from vitrail.run.building import make_model
from vitrail.run.prepare import Known, make_task, preprocessor_of
from vitrail.run.timing import Deadline, try_parts
from vitrail.run.training import Ready, get_ready
from vitrail.settings import Config, Stated
from vitrail.study.entries import Entry, in_order
from vitrail.study.shares import Pace
from vitrail.training.journal import Journal

LEARNING = 3
"""A training step computes about three times what a forward pass does: itself, and two products behind each one."""


@dataclass(frozen=True)
class Plan:
    """An entry as its cells will be. config: complete, with the recipe's own epochs; its teacher may be an entry."""

    entry: Entry
    ready: Ready
    config: Config


def plan(entries: Sequence[Entry], common: Stated, known: Known, journal: Journal) -> dict[str, Plan]:
    """Each entry's config on this data, by label, in the order of the entries; nothing is trained.

    Raises UsageError and DataError as `vitrail train` would, naming the entry.
    """
    plans: dict[str, Plan] = {}
    labels = [entry.label for entry in entries]
    for entry in in_order(entries):
        stated = {**common, **entry.stated}
        if entry.teacher is not None:
            compared = entry.teacher in labels
            stated["distill.teacher"] = teachers.AUTO if compared else entry.teacher
            if compared:  # what follows from having that teacher
                size = plans[entry.teacher].config.model.image_size
                stated = {"model.image_size": size, **stated}
        ready = get_ready(stated, journal, known=known)
        config = ready.choice.config
        if entry.teacher in labels:
            config = config.model_copy(
                update={"distill": config.distill.model_copy(update={"teacher": entry.teacher})}
            )  # fmt: skip
        plans[entry.label] = Plan(entry, ready, config)
    return {label: plans[label] for label in labels}


def try_all(plans: Mapping[str, Plan], seconds: float, out: Path | None, journal: Journal) -> dict[str, Pace]:
    """The pace of each model, tried for about so many seconds in all. out: where the study will stand."""
    paces: dict[str, Pace] = {}
    for label, made in plans.items():
        journal.say(f"trying how fast {label} trains here")
        paces[label] = _tried(made, plans, seconds / len(plans), out)
    return paces


def _tried(made: Plan, plans: Mapping[str, Plan], seconds: float, out: Path | None) -> Pace:
    ready, teacher = made.ready, made.ready.teacher
    if made.entry.teacher in plans:
        own = plans[str(made.entry.teacher)].config
        # one that knows nothing yet answers as fast
        teacher = Teacher(
            str(made.entry.teacher), make_model(own, ready.task, None), preprocessor_of(own), ready.device
        )
    deadline = Deadline.of(max(seconds, 1.0) * 20)  # of which a trial takes a twentieth
    part, first = try_parts(deadline, made.config, ready.data, ready.device, None, teacher, out, Journal(quiet=True))
    return Pace(part, flops_of(made.config, ready, teacher), made.config.train.epochs, first)


def flops_of(config: Config, ready: Ready, teacher: Teacher | None = None) -> float:
    """Floating-point operations of one training image: three forward passes' worth, and the teacher's forward pass.

    Without those of a CNN that is trained first.
    """
    seen = preprocessor_of(config)
    model = make_model(config, make_task(config, ready.data), None)
    total = LEARNING * gmacs(model, seen.size, seen.channels)
    if teacher is not None:
        total += gmacs(teacher.model, seen.size, seen.channels)
    return 2e9 * total


def slower(paces: Mapping[str, Pace], took: Mapping[str, float], said: Mapping[str, float]) -> dict[str, Pace]:
    """The paces, corrected by what cells of each model took in all over what was said that they would.

    Within a factor of 3 either way: a cell that was resumed, or that failed, says little.
    """
    return {
        label: replace(pace, slower=min(3.0, max(1 / 3, pace.slower * took[label] / said[label])))
        if said.get(label) and took.get(label)
        else pace
        for label, pace in paces.items()
    }
