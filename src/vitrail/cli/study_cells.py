"""What verbs of studies have in common: which one to go on with, and of those that train models what holds for all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitrail.cli.options import Call, Options, key_of, option, spelled
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.settings import Stated


@dataclass(frozen=True)
class CellOptions(Options):
    """What holds for all models, and where the study goes. A verb's own options stand in a second base, after it."""

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


def for_all(call: Call[Any]) -> Stated:
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
