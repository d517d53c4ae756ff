"""`vitrail study data-efficiency DATA`: how models learn from more images, and what still more would bring."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

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

    models: str | None = option(
        "with commas between: names of `vitrail models`, timm:NAME, .yaml files of label: {field: value} "
        "(vit_tiny, alone and taught by the next, and resnet18)",
        "A,B,...",
        ASKED,
    )
    fractions: str | None = option(
        "of the training images, 4 or more, all of them among them (1/16,1/8,1/4,1/2,1)", "PARTS", ASKED
    )
    seeds: int | None = option("trainings of each model on each part, 2 or more (3)", "N", ASKED)
    rates: str | None = option(
        "multiples of the recipe's learning rate to choose from, for each model (0.5,1,2); 1 for no choice",
        "N,N",
        ASKED,
    )
    teacher: str | None = option(
        "who teaches NAME+teacher and deit_*_distilled: a model of the list, what train takes, or none; "
        "by default the list's CNN on the same part, else each trains one first",
        "NAME",
        ASKED,
    )
    minimal: float | None = option(
        "the least difference that matters: points of a score (1), or the unit of an error (2 % of the best)",
        "N",
        ASKED,
    )
    time: str | None = option("wall time of everything, report included: 1h30m, 10m, 90s", "TIME", "How long")
    epochs: float | None = option("on all images, instead of a time", "N", "How long")
    equal: Literal["time", "epochs", "flops"] | None = option(
        "what all models have the same of: time (with --time), epochs, or flops of training", "NAME", "How long"
    )
    dry_run: bool = flag("show what would be trained and what it would take, and write nothing", "How long")


@dataclass(frozen=True)
class DataEfficiencyOptions(CellOptions, Wanted):
    """What is studied, for how long, and what holds for all models."""


def data_efficiency(call: Call[DataEfficiencyOptions]) -> Outcome:
    """Begin a study, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options = call.options
    if (folder := resumed(call)) is not None:
        from vitrail.study.data_efficiency.study import resume

        return _outcome(resume(folder, began=began), options.json)
    stated = for_all(call)
    from vitrail.study.compare_asked import Wishes
    from vitrail.study.data_efficiency.study import KIND, begin, prepared
    from vitrail.study.entries import DEFAULT
    from vitrail.study.folder import refuse_place
    from vitrail.training.journal import Journal

    refuse_place(KIND, options.out)
    wishes = Wishes(
        options.seeds, options.time, options.epochs, options.equal, options.rates, None, options.fractions,
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
    from vitrail.study.shares import part_epochs
    from vitrail.training.journal import duration

    told = cost(made)
    total = sum(each["seconds"] for each in told["models"].values())
    fractions = [*made.plan.ask.fractions, Fraction(1)]
    headers = ["model", "seeds", *(f"epochs on {part}" for part in fractions), "rates", "time", "share"]
    rows = [
        [label, str(each["full_runs"]), *(f"{part_epochs(each['epochs'], part):g}" for part in fractions),
         f"{len(each['rates'])} x {each['rate_epochs']:g} epochs" if each["rates"] else "",
         duration(each["seconds"]), share(each["seconds"] / total)]
        for label, each in told["models"].items()
    ]  # fmt: skip
    print(table(headers, rows, numbers=[name for name in headers if name not in ("model", "rates")]))
    print(wrapped(f"Training takes about {duration(total)}. Nothing was written."))
    return Outcome(result={"plan": told, "seconds": total})


def _outcome(done: Studied, json: bool) -> Outcome:
    print()
    for sentence in done.said:
        print(wrapped(sentence))
    models = list(done.results["curves"])
    return Outcome(
        result={"study": done.folder, "said": list(done.said), "results": done.results},
        outputs=done.outputs,
        warnings=done.warnings if json else (),  # the journal has said them already
        where=done.outputs[0],
        next=[command("compare", done.data, "--models", ",".join(models))] if len(models) > 1 else [],
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
