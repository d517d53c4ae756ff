"""`vitrail study cost`: how time and memory grow with the size of an image, on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.study_cells import resumed
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import UsageError
from vitrail.settings import seconds_of

if TYPE_CHECKING:
    from vitrail.study.growth.study import Asked, Done
    from vitrail.study.statistics.growth import Exponent


@dataclass(frozen=True)
class CostOptions(Options):
    """What to measure, and for how long."""

    models: str | None = option("a ViT, a Swin, a PVT v2 and a ResNet, the smallest of each; a comma between", "A,B")
    image_sizes: str | None = option("pixels a side (64 to 1024, nine sizes); a comma between", "N,N")
    batch: int | None = option("images at once (2)", "N")
    time: str | None = option("wall time in all; what would not fit is left out (5m)", "TIME")
    device: Literal["auto", "cpu", "cuda"] | None = option("auto, cpu or cuda", "NAME")
    precision: Literal["fp32", "bf16"] | None = option("fp32 or bf16 (fp32)", "NAME")
    threads: int | None = option("threads that compute, 0 for PyTorch's own choice (0)", "N")
    dry_run: bool = flag("show what would be measured and what it would take, and write nothing")
    name: str | None = option("name of the study; a number is added if taken", "NAME", "Study")
    out: Path | None = option("the study's folder itself; refused if it exists", "FOLDER", "Study")
    resume: Path | None = option("go on with the study in this folder", "FOLDER", "Study")


def cost(call: Call[CostOptions]) -> Outcome:
    """Measure the cells, fit how they grow, and write the report."""
    began = time.monotonic()
    options = call.options
    if (folder := resumed(call, "")) is not None:
        from vitrail.study.growth.study import resume

        return _outcome(resume(folder, quiet=options.json, began=began))
    from vitrail.study.growth.study import MODELS, SECONDS, SIZES, Asked, begin

    asked = Asked(
        _listed(options.models) or MODELS, _sizes(options.image_sizes) or SIZES,
        2 if options.batch is None else options.batch, SECONDS if options.time is None else seconds_of(options.time),
        options.device or "auto", options.precision or "fp32", options.threads or 0,
    )  # fmt: skip
    if options.dry_run:
        return _dry(asked)
    done = begin(asked, name=options.name, out=options.out, command=call.command, quiet=options.json, began=began)
    return _outcome(done)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def _sizes(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _listed(text))
    except ValueError:
        raise UsageError(f"--image-sizes takes whole numbers with commas between, not '{text}'") from None


def _dry(asked: Asked) -> Outcome:
    from vitrail.report.numbers import number, share
    from vitrail.study.growth.study import planned

    cells = planned(asked)
    whole = sum(one.seconds for one in cells)
    rows, told = [], []
    for one in cells:
        counted, step = one.counted, one.cell.what == "step"
        flops = counted.step_flops if step else counted.forward_flops
        memory = f"{counted.step_memory / 2**20:,.0f}" if step else ""
        rows.append(
            [one.cell.model, str(one.cell.size), one.cell.what, f"{counted.tokens:,}", number(flops / 1e9), memory,
             f"{one.seconds:.1f}", share(one.seconds / whole)]
        )  # fmt: skip
        told.append(
            {"model": one.cell.model, "image_size": one.cell.size, "pass": one.cell.what, "flops": flops,
             "seconds": one.seconds}
        )  # fmt: skip
    headers = ["model", "px", "pass", "N", "GFLOPs an image", "MiB", "seconds", "share"]
    print(table(headers, rows, numbers=[headers[1], *headers[3:]]))
    print(
        wrapped(
            f"About {whole:.0f} s of {asked.time:.0f} at 5 GFLOP/s, which few machines fall short of; what will not "
            "fit is left out, the largest sizes first. Nothing was written."
        )
    )
    return Outcome(result={"cells": told, "seconds": whole})


def _outcome(done: Done) -> Outcome:
    from vitrail.study.growth import words

    print()
    for sentence in words.verdict(done.laws, done.crossings, done.needed):
        print(wrapped(sentence))
    exponents = [
        {"model": law.model, "pass": law.what, "time": _value(law.time), "attention": _value(law.attention)}
        for law in done.laws
    ]
    claims = [claim.record() for claim in words.claims(done.laws)]
    left = {cell.name: why for cell, why in done.left_out.items()}
    return Outcome(
        result={"study": done.folder, "exponents": exponents, "claims": claims, "left_out": left},
        outputs=done.outputs,
        warnings=[*words.cautions(done.cells), *words.left_out(done.left_out)],
        where=done.outputs[0],
        next=[command("plan", done.cells[0].model, "--device", done.device)],
    )


def _value(found: Exponent | None) -> list[float] | None:
    if found is None:
        return None
    return [found.exponent.value, found.exponent.low, found.exponent.high]


COST = Verb(
    name="study cost",
    summary="How the time and the memory of a forward pass and of a training step grow with the size of an image, "
    "measured on this machine for models of every family: exponents, which model is faster from which size on, and the "
    "share of attention.",
    options=CostOptions,
    operands=Operands(),
    meanings={},
    function=cost,
    examples=[
        "vitrail study cost",
        "vitrail study cost --models vit_tiny_patch16_224,resnet18 --image-sizes 64,128,192,256 --time 1m",
        "vitrail study cost --device cuda --batch 16 --precision bf16",
    ],
    more="Sizes go up in turns, each pass is kept as soon as it is measured, and what stops goes on with --resume.",
)
