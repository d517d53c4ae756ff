"""`vitrail study data-efficiency DATA`: how models learn from more images, and what still more would bring."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.study_cells import (
    LIMIT,
    CellOptions,
    EqualOptions,
    carried_out,
    for_all,
    minimal_option,
    models_option,
    outcome_of,
    plan_of,
    rates_option,
    rates_tried,
    resumed,
    teacher_option,
)
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.study.course import Prepared, Studied
    from vitrail.training.journal import Journal

ASKED = "What is studied"


@dataclass(frozen=True)
class Wanted(Options):
    """What is studied."""

    models: str | None = models_option(ASKED)
    fractions: str | None = option(
        "of the training images, 4 or more, all of them among them (1/16,1/8,1/4,1/2,1)", "PARTS", ASKED
    )
    seeds: int | None = option("trainings of each model on each part, 2 or more (3)", "N", ASKED)
    rates: str | None = rates_option("model", ASKED)
    teacher: str | None = teacher_option("the list's CNN on the same part", ASKED)
    minimal: float | None = minimal_option(ASKED)


@dataclass(frozen=True)
class DataEfficiencyOptions(CellOptions, EqualOptions, Wanted):
    """What is studied, for how long, and what holds for all models."""

    epochs: float | None = option("on all images, instead of a time", "N", LIMIT)


def data_efficiency(call: Call[DataEfficiencyOptions]) -> Outcome:
    """Begin a study, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options, folder = call.options, resumed(call)
    stated = for_all(call) if folder is None else {}
    from vitrail.study.compare_asked import Wishes
    from vitrail.study.data_efficiency.study import COURSE
    from vitrail.study.entries import DEFAULT

    wishes = Wishes(
        options.seeds, options.time, options.epochs, options.equal, options.rates, None, options.fractions,
        options.minimal,
    )  # fmt: skip

    def prepare(journal: Journal) -> Prepared:
        return COURSE.prepare(
            call.operands[0], options.models or DEFAULT, wishes, stated, options.teacher, journal, out=options.out,
            began=began,
        )  # fmt: skip

    return carried_out(call, folder, COURSE, prepare, _planned, lambda done: _outcome(done, options.json), began)


def _planned(made: Prepared) -> Outcome:
    from vitrail.study.compare import cost
    from vitrail.study.shares import part_epochs

    fractions = [*made.plan.ask.fractions, Fraction(1)]

    def row(label: str, each: dict[str, Any]) -> list[str]:
        epochs = [f"{part_epochs(each['epochs'], part):g}" for part in fractions]
        return [label, str(each["full_runs"]), *epochs, rates_tried(each)]

    headers = ["model", "seeds", *(f"epochs on {part}" for part in fractions), "rates"]
    return plan_of(cost(made), "models", headers, row, words=("model", "rates"))


def _outcome(done: Studied, json: bool) -> Outcome:
    models = list(done.results["curves"])
    return outcome_of(
        done, json, [command("compare", done.data, "--models", ",".join(models))] if len(models) > 1 else []
    )


DATA_EFFICIENCY = Verb(
    name="study data-efficiency",
    summary="Train several models on growing parts of the same images: which one leads with few images and which with "
    "many, whether more images would help and how sure that is, and of which class to label more.",
    options=DataEfficiencyOptions,
    operands=Operands("DATA", 0, 1),
    meanings={"DATA": "as for `vitrail train`: a folder with a folder per class, a table, annotations, 'digits'"},
    function=data_efficiency,
    config=True,
    more="A part f of the images is trained for f^-0.5 times the epochs. Any other setting that is to hold for all "
    "models has a dotted path: train.weight_decay=0.1.",
    examples=[
        "vitrail study data-efficiency PHOTOS --time 1h",
        "vitrail study data-efficiency PHOTOS --models vit_tiny,resnet18 --fractions 1/8,1/4,1/2,1 --time 30m",
        "vitrail study data-efficiency digits --epochs 20 --dry-run",
        "vitrail study data-efficiency --resume runs/study/data-efficiency/PHOTOS",
    ],
)
