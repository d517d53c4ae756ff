"""`vitrail convert SOURCE DEST`: any published checkpoint in, any other out, every tensor accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitrail.cli.console import count
from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.checkpoints.report import LoadReport


@dataclass(frozen=True)
class ConvertOptions(Options):
    """What the source leaves open, and what is wanted of it."""

    to: Literal["vitrail", "timm", "huggingface", "torchvision", "google", "official"] | None = option(
        "vitrail, timm, huggingface, torchvision, google or official (by the form of DEST)", "LAYOUT"
    )
    model: str | None = option("the model it is, where the source leaves that open", "NAME")
    new_head: int | None = option("leave its head out, and begin one of N outputs", "N")
    image_size: int | None = option("set it to images of N pixels; positions are resized", "N")


def convert(call: Call[ConvertOptions]) -> Outcome:
    """Convert, and show the account."""
    from vitrail.checkpoints.conversion import convert as convert_weights

    options, (source, dest) = call.options, call.operands
    for name, value, least in (("new-head", options.new_head, 2), ("image-size", options.image_size, 1)):
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    made = convert_weights(source, dest, options.to, options.model, options.new_head, options.image_size)
    if not options.json:
        _show(made.report)
    folder = made.layout == "vitrail" and Path(dest).is_dir()
    return Outcome(
        result={"convert": {**made.report.to_json(), "to": made.layout}},
        outputs=made.files,
        warnings=made.report.notes,
        where=Path(dest),
        next=[command("predict", dest, "IMAGES")] if folder else [],
    )


def _show(report: LoadReport) -> None:
    """The table of tensors, one row for equal parts of all blocks, and the sum."""
    from rich.console import Console

    console = Console(soft_wrap=False, highlight=False)
    console.print(report)
    print(f"\n{count(len(report.loaded), 'tensor')} of {report.model or 'the model'}, all accounted for")


CONVERT = Verb(
    name="convert",
    summary="Read a checkpoint in any published layout, which is found out and not asked for, and write any other. "
    "Every tensor is accounted for, or nothing is written. A file that could run code is refused (exit 5).",
    options=ConvertOptions,
    operands=Operands("SOURCE DEST", 2, 2),
    meanings={
        "SOURCE": "a file (.safetensors, .npz, .pth, .bin), a model or run folder, a folder of timm or transformers, "
        "hf-hub:ORG/NAME or timm:NAME",
        "DEST": "a new folder (a model folder of Vitrail, or with --to of timm or transformers) or a new file",
    },
    function=convert,
    examples=[
        "vitrail convert timm:vit_tiny_patch16_224 vit_tiny",
        "vitrail convert deit_base_patch16_224.pth deit --model deit_base_patch16_224",
        "vitrail convert runs/train/PHOTOS photos-hf --to huggingface",
    ],
)
