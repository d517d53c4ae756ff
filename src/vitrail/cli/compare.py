"""`vitrail compare DATA`: several models on the same images, in the same time, from several seeds: which to take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.study_cells import (
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
    from vitrail.study.compare import Compared
    from vitrail.study.course import Prepared
    from vitrail.training.journal import Journal

ASKED = "What is compared"


@dataclass(frozen=True)
class Wanted(Options):
    """What is compared."""

    models: str | None = models_option(ASKED)
    seeds: int | None = option("trainings of each model, 2 or more (3; with folds, repeats: 2)", "N", ASKED)
    folds: int | None = option(
        "test on every image once, in so many folds; by default 5 under 500 images, else 0", "K", ASKED
    )
    fractions: str | None = option(
        "train on parts of the images as well, for learning curves; none for none (1/16,1/8,1/4,1/2)", "PARTS", ASKED
    )
    rates: str | None = rates_option("model", ASKED)
    teacher: str | None = teacher_option("the list's CNN", ASKED)
    minimal: float | None = minimal_option(ASKED)


@dataclass(frozen=True)
class CompareOptions(CellOptions, EqualOptions, Wanted):
    """What is compared, for how long, and what holds for all models."""


def compare(call: Call[CompareOptions]) -> Outcome:
    """Begin a comparison, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options, folder = call.options, resumed(call)
    stated = for_all(call) if folder is None else {}
    from vitrail.study.compare import COURSE
    from vitrail.study.compare_asked import Wishes
    from vitrail.study.entries import DEFAULT

    wishes = Wishes(
        options.seeds, options.time, options.epochs, options.equal, options.rates, options.folds, options.fractions,
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

    def row(label: str, each: dict[str, Any]) -> list[str]:
        parts = f"{len(each['parts'])} x {each['part_seeds']}" if each["parts"] else ""
        return [label, str(each["full_runs"]), f"{each['epochs']:g}", rates_tried(each), parts]

    headers = ["model", "full runs", "epochs", "rates", "parts"]
    return plan_of(cost(made), "models", headers, row, words=("model", "rates", "parts"))


def _outcome(done: Compared, json: bool) -> Outcome:
    chosen = done.recommendation or done.results["leading"]
    cells = done.results["models"][chosen]["full"]
    best = done.folder / "cells" / cells[0]["cell"]
    following = [command("predict", best, "IMAGE"), command("explain", best, "IMAGE")]
    return outcome_of(done, json, following, {"recommendation": done.recommendation})


COMPARE = Verb(
    name="compare",
    summary="Train several models alike on the same images: the same split, the same rules for settings, an equal "
    "share of the time, learning rates chosen alike, several seeds. Then say which one to take, why, how sure that is, "
    "and what would change it.",
    options=CompareOptions,
    operands=Operands("DATA", 0, 1),
    meanings={"DATA": "as for `vitrail train`: a folder with a folder per class, a table, annotations, 'digits'"},
    function=compare,
    config=True,
    more="Any other setting that is to hold for all models has a dotted path: train.weight_decay=0.1. Without --time "
    "and --epochs each model trains as long as its recipe says, which is shown first.",
    examples=[
        "vitrail compare PHOTOS --time 30m",
        "vitrail compare PHOTOS --models vit_tiny,swin_tiny,resnet18 --seeds 3 --time 2h",
        "vitrail compare PHOTOS --models vit_tiny,resnet18 --epochs 20 --fractions none",
        "vitrail compare PHOTOS --time 30m --dry-run",
        "vitrail compare --resume runs/compare/PHOTOS",
    ],
)
