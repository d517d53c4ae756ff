"""`vitrail study scaling DATA`: a family at several sizes with several budgets of compute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.study_cells import CellOptions, for_all, resumed
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.study.course import Prepared, Studied

ASKED = "What is studied"


@dataclass(frozen=True)
class Wanted(Options):
    """What is studied, and for how long."""

    family: str | None = option("whose sizes: vit (vit)", "NAME", ASKED)
    sizes: int | None = option("how many, 5 or more, each about twice the compute of the one before (5)", "N", ASKED)
    largest: float | None = option("scale of the largest size; 1 is vit_tiny, 16 about vit_base (1)", "N", ASKED)
    budgets: int | None = option(
        "of training FLOPs, from a sixteenth of the largest up; a law needs 4, the published form 5 (5)", "N", ASKED
    )
    seeds: int | None = option("trainings of each size with each budget (1)", "N", ASKED)
    rates: str | None = option(
        "multiples of the recipe's learning rate to choose from, for each size (0.5,1,2); 1 for no choice",
        "N,N",
        ASKED,
    )
    time: str | None = option("wall time of everything, report included: 1h30m, 10m, 90s", "TIME", "How long")
    epochs: float | None = option("of the largest size with the largest budget, instead of a time", "N", "How long")
    dry_run: bool = flag("show what would be trained and what it would take, and write nothing", "How long")


@dataclass(frozen=True)
class ScalingOptions(CellOptions, Wanted):
    """What is studied, for how long, and what holds for all sizes."""


def scaling(call: Call[ScalingOptions]) -> Outcome:
    """Begin a study, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options = call.options
    if (folder := resumed(call)) is not None:
        from vitrail.study.scaling.study import resume

        return _outcome(resume(folder, began=began), options.json)
    stated = for_all(call)
    from vitrail.study.compare_asked import Wishes
    from vitrail.study.folder import refuse_place
    from vitrail.study.scaling.asked import BUDGETS
    from vitrail.study.scaling.sizes import FEWEST
    from vitrail.study.scaling.study import KIND, begin, prepared
    from vitrail.training.journal import Journal

    refuse_place(KIND, options.out)
    seeds = 1 if options.seeds is None else options.seeds
    wishes = Wishes(seeds, options.time, options.epochs, None, options.rates)
    journal = Journal()
    made = prepared(
        call.operands[0], options.family or "vit", FEWEST if options.sizes is None else options.sizes,
        1.0 if options.largest is None else options.largest, BUDGETS if options.budgets is None else options.budgets,
        wishes, stated, journal, out=options.out, began=began,
    )  # fmt: skip
    if options.dry_run:
        return _planned(made)
    done = begin(made, journal, name=options.name, out=options.out, command=call.command, began=began)
    return _outcome(done, options.json)


def _planned(made: Prepared) -> Outcome:
    from vitrail.report.numbers import share
    from vitrail.study.scaling.study import cost
    from vitrail.study.scaling.words import flops
    from vitrail.training.journal import duration

    told = cost(made)
    total = sum(each["seconds"] for each in told["sizes"].values())
    headers = ["size", "GFLOPs an image", *(f"epochs, {flops(count)}" for count in told["budgets"]), "time", "share"]
    rows = [
        [label, f"{each['flops_per_image'] / 1e9:.3g}", *(f"{count:g}" for count in each["epochs"]),
         duration(each["seconds"]), share(each["seconds"] / total)]
        for label, each in told["sizes"].items()
    ]  # fmt: skip
    print(table(headers, rows, numbers=headers[1:]))
    print(wrapped(f"Training takes about {duration(total)}. Nothing was written."))
    return Outcome(result={"plan": told, "seconds": total})


def _outcome(done: Studied, json: bool) -> Outcome:
    print()
    for sentence in done.said:
        print(wrapped(sentence))
    return Outcome(
        result={"study": done.folder, "said": list(done.said), "results": done.results},
        outputs=done.outputs,
        warnings=done.warnings if json else (),  # the journal has said them already
        where=done.outputs[0],
        next=[command("study", "data-efficiency", done.data)],
    )


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
