"""`vitrail compare DATA`: several models on the same images, in the same time, from several seeds: which to take."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, key_of, option, spelled
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.settings import Stated
    from vitrail.study.compare import Compared
    from vitrail.study.course import Prepared


@dataclass(frozen=True)
class CompareOptions(Options):
    """What is compared, for how long, and what holds for all models."""

    models: str | None = option(
        "with commas between: names of `vitrail models`, timm:NAME, .yaml files of label: {field: value} "
        "(vit_tiny, deit_tiny_distilled and resnet18)",
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
        "who teaches distilled models: a model of the list, what train takes, or none; by default the list's CNN, else "
        "each trains one first",
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
    image_size: int | None = option("side of the square the models see, in pixels", "PIXELS", "For all models")
    batch_size: int | None = option("images per update", "N", "For all models")
    precision: Literal["fp32", "bf16"] | None = option("fp32 or bf16", "NAME", "For all models")
    recipe: str | None = option("the recipe of all; auto picks for each", "NAME", "For all models")
    task: Literal["classify", "multilabel", "regress", "segment", "depth"] | None = option(
        "by default what the targets are", "NAME", "For all models"
    )
    target: str | None = option("what to learn, as train has it", "NAME,...", "For all models")
    group: str | None = option("a table's column whose equal values stay together", "COLUMN", "For all models")
    split_file: str | None = option("lists of what is train, val and test", "FILE", "For all models")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME", "For all models")
    workers: int | None = option("processes that read images", "N", "For all models")
    name: str | None = option("the study's folder is runs/compare/NAME", "NAME", "Study")
    out: Path | None = option("the study's folder itself; refused if it exists", "FOLDER", "Study")
    resume: Path | None = option("go on with a stopped comparison, in its folder; no DATA", "STUDY", "Study")


FOR_ALL = (
    "image_size", "batch_size", "precision", "recipe", "task", "target", "group", "split_file", "device", "workers",
)  # fmt: skip
"""Options that are fields of the config."""


def compare(call: Call[CompareOptions]) -> Outcome:
    """Begin a comparison, go on with one, or show what it would be."""
    began = time.monotonic()  # before torch is loaded, which the time includes
    options = call.options
    if options.resume is not None:
        others = [name for name in call.given() if name not in ("--resume", "--json")]
        if call.operands or others:
            extra = ", ".join([*call.operands, *others])
            raise UsageError(f"--resume goes on with what the comparison was asked: leave out {extra}")
        from vitrail.study.compare import resume

        return _outcome(resume(options.resume, began=began), options.json)
    if not call.operands:
        raise UsageError("DATA is missing: a folder of images, a table, annotations, or one of 'digits' and 'shapes'")
    if options.name is not None and options.out is not None:
        raise UsageError("--name and --out both say where the comparison goes: leave one out")
    stated = _for_all(call)
    from vitrail.settings import build, seconds_of

    build({"data.source": call.operands[0], **stated})  # a value that its field refuses is said first
    if options.time is not None:
        seconds_of(options.time)
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


def _for_all(call: Call[Any]) -> Stated:
    """The fields that hold for all models: options and dotted paths; UsageError for one that is stated twice."""
    from vitrail.settings import SHORT

    here: Stated = {}
    for field in fields(call.options):
        key, value = key_of(field.name), getattr(call.options, field.name)
        if key in FOR_ALL and value is not None:
            path = SHORT.get(key, key)
            if path in call.stated:
                raise UsageError(f"{spelled(key)} and {path} are the same field: state one")
            here[path] = value
    return {**call.stated, **here}


def _planned(made: Prepared) -> Outcome:
    from vitrail.study.compare import cost
    from vitrail.training.journal import duration

    told = cost(made)
    total = sum(each["seconds"] for each in told["models"].values())
    headers = ["model", "full runs", "epochs", "rates", "parts", "time", "share"]
    rows = [
        [label, str(each["full_runs"]), f"{each['epochs']:g}",
         f"{len(each['rates'])} x {each['rate_epochs']:g} epochs" if each["rates"] else "",
         f"{len(each['parts'])} x {each['part_seeds']}" if each["parts"] else "",
         duration(each["seconds"]), f"{each['seconds'] / total:.0%}"]
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
