"""What verbs of studies have in common: which one to go on with, and of those that train cells options and course."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Options, flag, key_of, option, spelled
from vitrail.cli.verb import Outcome
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.settings import Stated
    from vitrail.study.compare import Compared
    from vitrail.study.course import Course, Prepared, Studied
    from vitrail.training.journal import Journal

T = TypeVar("T")

LIMIT = "How long"
"""The title over options of time."""


@dataclass(frozen=True)
class TimeOptions(Options):
    """How long a study of cells takes."""

    time: str | None = option("wall time of everything, report included: 1h30m, 10m, 90s", "TIME", LIMIT)
    epochs: float | None = option("of each full run, instead of a time", "N", LIMIT)


@dataclass(frozen=True)
class EqualOptions(TimeOptions):
    """The same of a study of models, which can have the same of something else than of time."""

    equal: Literal["time", "epochs", "flops"] | None = option(
        "what all models have the same of: time (with --time), epochs, or flops of training", "NAME", LIMIT
    )


@dataclass(frozen=True)
class CellOptions(TimeOptions):
    """What holds for all models, for how long, and where the study goes. A verb's own options stand in a base after
    this one, which help shows before it.
    """

    dry_run: bool = flag("show what would be trained and what it would take, and write nothing", LIMIT)
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
    name: str | None = option("name of the study; a number is added if taken", "NAME", "Study")
    out: Path | None = option("the study's folder itself; refused if it exists", "FOLDER", "Study")
    resume: Path | None = option("go on with a study that stopped, in its folder; no DATA", "STUDY", "Study")


def models_option(group: str) -> Any:
    """--models: the models of a study, under that title of the help."""
    return option(
        "with commas between: names of `vitrail models`, timm:NAME, .yaml files of label: {field: value} "
        "(vit_tiny, alone and taught by the next, and resnet18)",
        "A,B,...",
        group,
    )


def rates_option(each: str, group: str) -> Any:
    """--rates, chosen for each model, size or whatever it is that is trained."""
    return option(
        f"multiples of the recipe's learning rate to choose from, for each {each} (0.5,1,2); 1 for no choice",
        "N,N",
        group,
    )


def teacher_option(taken: str, group: str) -> Any:
    """--teacher: of the models of the list. taken: who teaches where nobody is named."""
    return option(
        "who teaches NAME+teacher and deit_*_distilled: a model of the list, what train takes, or none; "
        f"by default {taken}, else each trains one first",
        "NAME",
        group,
    )


def minimal_option(group: str) -> Any:
    """--minimal: the least difference between models that matters."""
    return option(
        "the least difference that matters: points of a score (1), or the unit of an error (2 % of the best)",
        "N",
        group,
    )


FOR_ALL = (
    "image_size", "batch_size", "precision", "recipe", "task", "target", "group", "split_file", "device", "workers",
)  # fmt: skip
"""Options that are fields of the config."""


NO_MODELS = "which models? Give runs that train made, or names of the catalogue (vitrail models)"
NO_DATA = "DATA is missing: a folder of images, a table, annotations, or one of 'digits' and 'shapes'"


def resumed(call: Call[Any], missing: str = NO_DATA) -> Path | None:
    """The study to go on with, None for a new one. UsageError for anything stated beside it, or for no operand.

    missing: what is said where there is none, "" where none is needed.
    """
    options = call.options
    if options.resume is not None:
        others = [name for name in call.given() if name not in ("--resume", "--json")]
        if call.operands or others:
            extra = ", ".join([*call.operands, *others])
            raise UsageError(f"--resume goes on with what the study was asked: leave out {extra}")
        folder: Path = options.resume
        return folder
    if missing and not call.operands:
        raise UsageError(missing)
    if options.name is not None and options.out is not None:
        raise UsageError("--name and --out both say where the study goes: leave one out")
    return None


def for_all(call: Call[CellOptions]) -> Stated:
    """The fields that hold for all models: options and dotted paths.

    UsageError for one that is stated twice, for a value that its field refuses, and for a --time that is none.
    """
    from vitrail.settings import SHORT, build, seconds_of

    here: Stated = {}
    for field in fields(call.options):
        key, value = key_of(field.name), getattr(call.options, field.name)
        if key in FOR_ALL and value is not None:
            path = SHORT.get(key, key)
            if path in call.stated:
                raise UsageError(f"{spelled(key)} and {path} are the same field: state one")
            here[path] = value
    if "data.source" in call.stated:
        raise UsageError("DATA says which data: leave out data.source")
    stated = {**call.stated, **here}
    build({"data.source": call.operands[0], **stated})
    if call.options.time is not None:
        seconds_of(call.options.time)
    return stated


def carried_out(
    call: Call[CellOptions], folder: Path | None, course: Course[Any, Any, T], prepare: Callable[[Journal], Prepared],
    show: Callable[[Prepared], Outcome], tell: Callable[[T], Outcome], began: float,
) -> Outcome:  # fmt: skip
    """Begin a study of cells, go on with the one in `folder`, or show what it would be.

    began: a reading of time.monotonic() from which --time counts.
    """
    from vitrail.study.folder import refuse_place
    from vitrail.training.journal import Journal

    options, journal = call.options, Journal()
    if folder is not None:
        return tell(course.resume(folder, journal, began=began))
    refuse_place(course.kind, options.out)
    made = prepare(journal)
    if options.dry_run:
        return show(made)
    return tell(course.begin(made, journal, name=options.name, out=options.out, command=call.command, began=began))


def plan_of(
    plan: Mapping[str, Any], each: str, headers: Sequence[str], row: Callable[[str, Any], list[str]],
    words: Sequence[str] = (),
) -> Outcome:  # fmt: skip
    """Show what would be trained: a row for each entry of plan[`each`], its time and share of all times behind it.

    words: the headers of columns that hold no numbers.
    """
    from vitrail.report.numbers import share
    from vitrail.training.journal import duration

    total = sum(one["seconds"] for one in plan[each].values())
    columns = [*headers, "time", "share"]
    rows = [
        [*row(label, one), duration(one["seconds"]), share(one["seconds"] / total)]
        for label, one in plan[each].items()
    ]  # fmt: skip
    print(table(columns, rows, numbers=[name for name in columns if name not in words]))
    print(wrapped(f"Training takes about {duration(total)}. Nothing was written."))
    return Outcome(result={"plan": plan, "seconds": total})


def rates_tried(one: Mapping[str, Any]) -> str:
    """The rates that are tried of a model, and for how long; "" where none is chosen."""
    return f"{len(one['rates'])} x {one['rate_epochs']:g} epochs" if one["rates"] else ""


def outcome_of(
    done: Compared | Studied, json: bool, following: Sequence[str], more: Mapping[str, Any] | None = None
) -> Outcome:
    """Say what a study says, and how the verb ended. following: commands.  more: of the JSON object, after the folder.

    json: whether one is printed, which has the warnings that the journal has shown already.
    """
    print()
    for sentence in done.said:
        print(wrapped(sentence))
    return Outcome(
        result={"study": done.folder, **(more or {}), "said": list(done.said), "results": done.results},
        outputs=done.outputs,
        warnings=done.warnings if json else (),
        where=done.outputs[0],
        next=following,
    )
