"""`vitrail pretrain DATA`: learn from images alone, with or without targets; `train --from RUN` goes on from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.train import statements
from vitrail.cli.verb import Outcome, Verb
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.run import Run


@dataclass(frozen=True)
class PretrainOptions(Options):
    """What is not stated is chosen from the images and shown, with its reason, before the first step."""

    model: str | None = option("which model; see `vitrail models` (vit_tiny)", "NAME", "Model")
    image_size: int | None = option("side of the square the model sees, in pixels", "PIXELS", "Model")
    patch_size: int | None = option("side of a patch; it must divide the image size", "PIXELS", "Model")
    group: str | None = option("a table's column whose equal values stay in one split", "COLUMN", "Data")
    split_file: str | None = option("lists of what is train, val and test, obeyed exactly", "FILE", "Data")
    epochs: float | None = option("passes over the training images", "N", "Training")
    time: str | None = option(
        "wall time in all, report included; as many epochs as fit: 1h30m, 10m, 90s", "TIME", "Training"
    )
    batch_size: int | None = option("images per update", "N", "Training")
    lr: float | None = option("largest learning rate", "RATE", "Training")
    precision: Literal["fp32", "bf16"] | None = option("fp32 or bf16", "NAME", "Training")
    seed: int | None = option("of weights and dropout (0)", "N", "Training")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME", "Machine")
    workers: int | None = option("processes that read images; never changes the result", "N", "Machine")
    name: str | None = option("the run's folder is runs/pretrain/NAME", "NAME", "Run")
    out: Path | None = option("the run's folder itself; refused if it exists", "FOLDER", "Run")
    resume: Path | None = option("go on with a stopped run, in its folder; no DATA", "RUN", "Run")
    config: Path | None = option("settings from a file, such as a run's args.yaml", "FILE", "Run")


def pretrain(call: Call[PretrainOptions]) -> Outcome:
    """Start a run, or resume one."""
    from vitrail.report.pretrain_page import onward
    from vitrail.settings import NO_TASK

    run = _resume(call) if call.options.resume else _start(call)
    metrics = {split: dict(values) for split, values in run.metrics.items()}
    return Outcome(
        result={"run": run.folder, "metrics": metrics},
        outputs=run.outputs,
        warnings=run.warnings if call.options.json else (),  # the journal has said them already
        where=run.folder / "report.html",
        next=[onward(run.folder, run.config, run.config.data.source, targets=run.data["split_of"] != NO_TASK)],
    )


def _start(call: Call[PretrainOptions]) -> Run:
    began = time.monotonic()  # before torch is loaded, which the run's time includes
    stated = statements(call)
    name, out = call.options.name, call.options.out
    if name is not None and out is not None:
        raise UsageError("--name and --out both say where the run goes: leave one out")
    from vitrail.run import pretraining
    from vitrail.run.timing import Deadline

    deadline = Deadline.of(call.options.time, began) if call.options.time is not None else None
    return pretraining.start(stated, name=name, out=out, command=call.command, deadline=deadline)


def _resume(call: Call[PretrainOptions]) -> Run:
    others = [name for name in call.given() if name not in ("--resume", "--json")]
    if call.operands or others:
        extra = ", ".join([*call.operands, *others])
        raise UsageError(f"--resume goes on with the run's own data and settings: leave out {extra}")
    from vitrail.run import pretraining

    assert call.options.resume is not None
    return pretraining.resume(call.options.resume, command=call.command)


PRETRAIN = Verb(
    name="pretrain",
    summary="Learn from images alone: parts of each are hidden and filled in from the rest. Targets are not needed, "
    "and not looked at where there are any. `vitrail train DATA --from RUN` goes on from what was learned.",
    options=PretrainOptions,
    operands=Operands("DATA", 0, 1),
    meanings={
        "DATA": "a folder of images at any depth, with or without labels; a table (.csv, .parquet, .jsonl); whatever "
        "else train takes"
    },
    function=pretrain,
    config=True,
    more="A plain ViT leaves hidden patches out and learns at a quarter of the cost (masked autoencoder); every other "
    "model sees them painted over. What is hidden has dotted paths: pretrain.mask_ratio=0.6. Where DATA has targets, "
    "the split is the one that train makes, so images of its test are not seen.",
    examples=[
        "vitrail pretrain PHOTOS",
        "vitrail pretrain PHOTOS --model vit_small --epochs 200",
        "vitrail pretrain digits --model swin_tiny pretrain.mask_ratio=0.5",
        "vitrail pretrain --resume runs/pretrain/PHOTOS",
    ],
)
