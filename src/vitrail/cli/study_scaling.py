"""`vitrail study scaling DATA`: a family at several sizes with several budgets of compute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.study_cells import (
    LIMIT,
    CellOptions,
    carried_out,
    for_all,
    outcome_of,
    plan_of,
    rates_option,
    resumed,
)
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.study.course import Prepared, Studied
    from vitrail.training.journal import Journal

ASKED = "What is studied"


@dataclass(frozen=True)
class Wanted(Options):
    """What is studied."""

    family: str | None = option("whose sizes: vit (vit)", "NAME", ASKED)
    sizes: int | None = option("how many, 5 or more, each about twice the compute of the one before (5)", "N", ASKED)
    largest: float | None = option("scale of the largest size; 1 is vit_tiny, 16 about vit_base (1)", "N", ASKED)
    budgets: int | None = option(
        "of training FLOPs, from a sixteenth of the largest up; a law needs 4, the published form 5 (5)", "N", ASKED
    )
    seeds: int | None = option("trainings of each size with each budget (1)", "N", ASKED)
    rates: str | None = rates_option("size", ASKED)


@dataclass(frozen=True)
class ScalingOptions(CellOptions, Wanted):
    """What is studied, for how long, and what holds for all sizes."""

    epochs: float | None = option("of the largest size with the largest budget, instead of a time", "N", LIMIT)


def scaling(call: Call[ScalingOptions]) -> Outcome:
    """Begin a study, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options, folder = call.options, resumed(call)
    stated = for_all(call) if folder is None else {}
    from vitrail.study.compare_asked import Wishes
    from vitrail.study.scaling.asked import BUDGETS
    from vitrail.study.scaling.sizes import FEWEST
    from vitrail.study.scaling.study import COURSE, prepared

    seeds = 1 if options.seeds is None else options.seeds
    wishes = Wishes(seeds, options.time, options.epochs, None, options.rates)

    def prepare(journal: Journal) -> Prepared:
        return prepared(
            call.operands[0], options.family or "vit", FEWEST if options.sizes is None else options.sizes,
            1.0 if options.largest is None else options.largest,
            BUDGETS if options.budgets is None else options.budgets, wishes, stated, journal, out=options.out,
            began=began,
        )  # fmt: skip

    return carried_out(call, folder, COURSE, prepare, _planned, lambda done: _outcome(done, options.json), began)


def _planned(made: Prepared) -> Outcome:
    from vitrail.study.scaling.study import cost
    from vitrail.study.scaling.words import flops

    def row(label: str, each: dict[str, Any]) -> list[str]:
        return [label, f"{each['flops_per_image'] / 1e9:.3g}", *(f"{count:g}" for count in each["epochs"])]

    plan = cost(made)
    headers = ["size", "GFLOPs an image", *(f"epochs, {flops(count)}" for count in plan["budgets"])]
    return plan_of(plan, "sizes", headers, row, words=("size",))


def _outcome(done: Studied, json: bool) -> Outcome:
    return outcome_of(done, json, [command("study", "data-efficiency", done.data)])


SCALING = Verb(
    name="study scaling",
    summary="Train a family at five or more sizes with several budgets of compute: which size for which budget, how "
    "the error falls with compute, and what more of it would bring.",
    options=ScalingOptions,
    operands=Operands("DATA", 0, 1),
    meanings={"DATA": "as for `vitrail train`: a folder with a folder per class, a table, annotations, 'digits'"},
    function=scaling,
    config=True,
    more="Width, depth and MLP grow by the exponents of SoViT. Each budget is a training of its own. Any other setting "
    "that is to hold for all sizes has a dotted path: train.weight_decay=0.1.",
    examples=[
        "vitrail study scaling PHOTOS --time 2h",
        "vitrail study scaling PHOTOS --sizes 6 --budgets 6 --seeds 2 --time 1d",
        "vitrail study scaling digits --largest 0.25 --time 10m --dry-run",
        "vitrail study scaling --resume runs/study/scaling/PHOTOS",
    ],
)
