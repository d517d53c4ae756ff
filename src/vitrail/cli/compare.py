"""`vitrail compare DATA`: several models on the same images, in the same time, from several seeds: which to take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.study_cells import CellOptions, for_all, resumed
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.study.compare import Compared
    from vitrail.study.course import Prepared


@dataclass(frozen=True)
class Wanted(Options):
    """What is compared, and for how long."""

    models: str | None = option(
        "with commas between: names of `vitrail models`, timm:NAME, .yaml files of label: {field: value} "
        "(vit_tiny, alone and taught by the next, and resnet18)",
        "A,B,...",
        "What is compared",
    )
    seeds: int | None = option(
        "trainings of each model, 2 or more (3; with folds, repeats: 2)", "N", "What is compared"
    )
    folds: int | None = option(
        "test on every image once, in so many folds; by default 5 under 500 images, else 0", "K", "What is compared"
    )
    fractions: str | None = option(
        "train on parts of the images as well, for learning curves; none for none (1/16,1/8,1/4,1/2)",
        "PARTS",
        "What is compared",
    )
    rates: str | None = option(
        "multiples of the recipe's learning rate to choose from, for each model (0.5,1,2); 1 for no choice",
        "N,N",
        "What is compared",
    )
    teacher: str | None = option(
        "who teaches NAME+teacher and deit_*_distilled: a model of the list, what train takes, or none; "
        "by default the list's CNN, else each trains one first",
        "NAME",
        "What is compared",
    )
    minimal: float | None = option(
        "the least difference that matters: points of a score (1), or the unit of an error (2 % of the best)",
        "N",
        "What is compared",
    )
    time: str | None = option("wall time of everything, report included: 1h30m, 10m, 90s", "TIME", "How long")
    epochs: float | None = option("of each full run, instead of a time", "N", "How long")
    equal: Literal["time", "epochs", "flops"] | None = option(
        "what all models have the same of: time (with --time), epochs, or flops of training", "NAME", "How long"
    )
    dry_run: bool = flag("show what would be trained and what it would take, and write nothing", "How long")


@dataclass(frozen=True)
class CompareOptions(CellOptions, Wanted):
    """What is compared, for how long, and what holds for all models."""


def compare(call: Call[CompareOptions]) -> Outcome:
    """Begin a comparison, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options = call.options
    if (folder := resumed(call)) is not None:
        from vitrail.study.compare import resume

        return _outcome(resume(folder, began=began), options.json)
    stated = for_all(call)
    from vitrail.study.compare import KIND, begin, prepared
    from vitrail.study.compare_asked import Wishes
    from vitrail.study.entries import DEFAULT
    from vitrail.study.folder import refuse_place
    from vitrail.training.journal import Journal

    refuse_place(KIND, options.out)
    wishes = Wishes(
        options.seeds, options.time, options.epochs, options.equal, options.rates, options.folds, options.fractions,
        options.minimal,
    )  # fmt: skip
    journal = Journal()
    made = prepared(
        call.operands[0], options.models or DEFAULT, wishes, stated, options.teacher, journal, out=options.out,
        began=began,
    )  # fmt: skip
    if options.dry_run:
        return _planned(made)
    done = begin(made, journal, name=options.name, out=options.out, command=call.command, began=began)
    return _outcome(done, options.json)


def _planned(made: Prepared) -> Outcome:
    from vitrail.report.numbers import share
    from vitrail.study.compare import cost
    from vitrail.training.journal import duration

    told = cost(made)
    total = sum(each["seconds"] for each in told["models"].values())
    headers = ["model", "full runs", "epochs", "rates", "parts", "time", "share"]
    rows = [
        [label, str(each["full_runs"]), f"{each['epochs']:g}",
         f"{len(each['rates'])} x {each['rate_epochs']:g} epochs" if each["rates"] else "",
         f"{len(each['parts'])} x {each['part_seeds']}" if each["parts"] else "",
         duration(each["seconds"]), share(each["seconds"] / total)]
        for label, each in told["models"].items()
    ]  # fmt: skip
    print(table(headers, rows, numbers=["full runs", "epochs", "time", "share"]))
    print(wrapped(f"Training takes about {duration(total)}. Nothing was written."))
    return Outcome(result={"plan": told, "seconds": total})


def _outcome(done: Compared, json: bool) -> Outcome:
    print()
    for sentence in done.said:
        print(wrapped(sentence))
    chosen = done.recommendation or done.results["leading"]
    cells = done.results["models"][chosen]["full"]
    best = done.folder / "cells" / cells[0]["cell"]
    return Outcome(
        result={"study": done.folder, "recommendation": done.recommendation, "said": list(done.said),
                "results": done.results},
        outputs=done.outputs,
        warnings=done.warnings if json else (),  # the journal has said them already
        where=done.outputs[0],
        next=[command("predict", best, "IMAGE"), command("explain", best, "IMAGE")],
    )  # fmt: skip


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
