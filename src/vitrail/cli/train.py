"""`vitrail train DATA`: from images to a measured and explained model; `--resume RUN` goes on where one stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitrail.cli.options import Call, Operands, Options, flag, key_of, option, spelled
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.run import Run
    from vitrail.settings import Stated


@dataclass(frozen=True)
class TrainOptions(Options):
    """What is not stated is chosen from the data and shown, with its reason, before the first step."""

    model: str | None = option("which model; see `vitrail models` (vit_tiny)", "NAME", "Model")
    image_size: int | None = option("side of the square the model sees, in pixels", "PIXELS", "Model")
    patch_size: int | None = option("side of a patch; it must divide the image size", "PIXELS", "Model")
    from_: str | None = option(
        "begin with the weights of a run, a model folder or a published checkpoint, which say what model it is; "
        "hf-hub:ORG/NAME and timm:NAME are fetched",
        "SOURCE",
        "Model",
    )
    new_head: bool | None = flag("with --from: begin with a fresh head even where theirs fits", "Model", default=None)
    task: Literal["classify", "multilabel", "regress", "segment", "depth"] | None = option(
        "classify, multilabel, regress, segment or depth; by default what the targets are", "NAME", "Data"
    )
    target: str | None = option(
        "what to learn: a table's column, or several with commas between; a folder of masks; annotated classes",
        "NAME,...",
        "Data",
    )
    group: str | None = option("a table's column whose equal values stay in one split", "COLUMN", "Data")
    split_file: str | None = option("lists of what is train, val and test, obeyed exactly", "FILE", "Data")
    epochs: float | None = option("passes over the training images; of 2.5 the last is cut short", "N", "Training")
    time: str | None = option(
        "wall time in all, report included; as many epochs as fit: 1h30m, 10m, 90s", "TIME", "Training"
    )
    batch_size: int | None = option("images per update", "N", "Training")
    lr: float | None = option("largest learning rate", "RATE", "Training")
    teacher: str | None = option(
        "learn from this model as well: a run, a model folder, torchvision:NAME or timm:NAME; auto trains a CNN on the "
        "same images first",
        "SOURCE",
        "Training",
    )
    recipe: str | None = option(
        "auto picks one and says why; from scratch small, plain; from weights fine_tune, linear_probe, lora; for "
        "ImageNet deit, deit3, plain_vit, swin, pvt",
        "NAME",
        "Training",
    )
    precision: Literal["fp32", "bf16"] | None = option("fp32 or bf16", "NAME", "Training")
    seed: int | None = option("of weights and dropout (0)", "N", "Training")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME", "Machine")
    workers: int | None = option("processes that read images; never changes the result", "N", "Machine")
    name: str | None = option("the run's folder is runs/train/NAME", "NAME", "Run")
    out: Path | None = option("the run's folder itself; refused if it exists", "FOLDER", "Run")
    resume: Path | None = option("go on with a stopped run, in its folder; no DATA", "RUN", "Run")
    config: Path | None = option("settings from a file, such as a run's args.yaml", "FILE", "Run")


OF_THE_RUN = ("json", "time", "name", "out", "resume", "config")
"""Options that are about the run folder; all others are fields of the config."""


def train(call: Call[TrainOptions]) -> Outcome:
    """Start a run, or resume one."""
    run = _resume(call) if call.options.resume else _start(call)
    metrics = {split: dict(values) for split, values in run.metrics.items()}
    return Outcome(
        result={"run": run.folder, "metrics": metrics},
        outputs=run.outputs,
        warnings=run.warnings if call.options.json else (),  # the journal has said them already
        where=run.folder / "report.html",
        next=[
            command("predict", run.folder, "IMAGE"),
            *([command("explain", run.folder, "IMAGE")] if (run.folder / "explain.html").exists() else []),
        ],
    )


def _start(call: Call[TrainOptions]) -> Run:
    began = time.monotonic()  # before torch is loaded, which the run's time includes
    stated = statements(call)
    name, out = call.options.name, call.options.out
    if name is not None and out is not None:
        raise UsageError("--name and --out both say where the run goes: leave one out")
    from vitrail.run import start
    from vitrail.run.timing import Deadline

    deadline = Deadline.of(call.options.time, began) if call.options.time is not None else None
    return start(stated, name=name, out=out, command=call.command, deadline=deadline)


def _resume(call: Call[TrainOptions]) -> Run:
    others = [name for name in call.given() if name not in ("--resume", "--json")]
    if call.operands or others:
        extra = ", ".join([*call.operands, *others])
        raise UsageError(f"--resume goes on with the run's own data and settings: leave out {extra}")
    from vitrail.run import resume

    assert call.options.resume is not None
    return resume(call.options.resume, command=call.command)


def statements(call: Call[Any]) -> Stated:
    """The config fields that a command line states: its options and paths over its --config.

    Raises UsageError where nothing says what the data is, a field is stated twice, or its value is refused.
    """
    from vitrail.settings import SHORT, build, load, seconds_of

    stated = load(call.options.config) if call.options.config else {}
    here: Stated = {}
    for field in fields(call.options):
        key, value = key_of(field.name), getattr(call.options, field.name)
        if key not in OF_THE_RUN and value is not None:
            path = SHORT.get(key, key)
            here[path] = value
            if path in call.stated:
                raise UsageError(f"{spelled(key)} and {path} are the same field: state one")
    if call.operands:
        here["data.source"] = call.operands[0]
    if call.options.time is not None:
        seconds_of(call.options.time)
        for epochs in ("train.epochs", "distill.teacher_epochs"):
            stated.pop(epochs, None)  # of the file: a time on the command line takes their place
    stated |= call.stated | here
    if "data.source" not in stated:
        raise UsageError("DATA is missing: a folder of images, a table, annotations, or one of 'digits' and 'shapes'")
    build(stated)  # a value that its field refuses is said now, before any image is read
    return stated


TRAIN = Verb(
    name="train",
    summary="Audit, split, train, evaluate, report. Every setting you leave open is chosen from the data and shown "
    "with its reason before the first step.",
    options=TrainOptions,
    operands=Operands("DATA", 0, 1),
    meanings={
        "DATA": "a folder with a folder per class, or of images/ beside masks/, with or without train/, val/, test/; a "
        "table (.csv, .parquet, .jsonl); annotations of COCO (.json) or Pascal VOC; a set saved by Hugging Face's "
        "datasets, or hf:NAME; or 'digits' or 'shapes'"
    },
    function=train,
    config=True,
    more="Any other setting has a dotted path: train.weight_decay=0.1 or --train.weight-decay 0.1. A run's args.yaml "
    "lists them all.",
    examples=[
        "vitrail train PHOTOS",
        "vitrail train PHOTOS --model vit_small --epochs 30",
        "vitrail train PHOTOS --time 30m",
        "vitrail train cells.csv --target count,area --group patient",
        "vitrail train digits epochs=10 augment.mixup=0.2",
        "vitrail train PHOTOS --from timm:deit_small_patch16_224",
        "vitrail train PHOTOS --from runs/train/OTHERS --new-head",
        "vitrail train --resume runs/train/PHOTOS",
        "vitrail train --config runs/train/PHOTOS/args.yaml",
    ],
)
