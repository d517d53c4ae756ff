"""`vitrail study reach RUN|MODEL...`: how far heads look, and from how far pixels count, layer by layer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.study_cells import NO_MODELS, resumed
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.settings import seconds_of

if TYPE_CHECKING:
    from vitrail.study.reach.study import Asked, Done


@dataclass(frozen=True)
class ReachOptions(Options):
    """What to measure, on which images, for how long."""

    data: str | None = option(
        "other images than the first run held back; without a run, drawn shapes are taken", "DATA"
    )
    images: int | None = option("images at most, the same for all models (16)", "N")
    seeds: int | None = option("fresh weights of each model, beside the trained ones (2; 0 for none)", "N")
    time: str | None = option("wall time in all; models that begin after it are left out: 10m, 90s", "TIME")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")
    threads: int | None = option("threads that compute, 0 for PyTorch's own choice (0)", "N")
    dry_run: bool = flag("show what would be measured and write nothing")
    name: str | None = option("name of the study; a number is added if taken", "NAME", "Study")
    out: Path | None = option("the study's folder itself; refused if it exists", "FOLDER", "Study")
    resume: Path | None = option("go on with the study in this folder", "FOLDER", "Study")


def reach(call: Call[ReachOptions]) -> Outcome:
    """Measure the models, say what is seen, and write the report."""
    began = time.monotonic()
    options = call.options
    if (folder := resumed(call, NO_MODELS)) is not None:
        from vitrail.study.reach.study import resume

        return _outcome(resume(folder, quiet=options.json, began=began), call.operands)
    limit = seconds_of(options.time) if options.time is not None else None
    from vitrail.study.reach.study import Asked, begin

    asked = Asked(
        call.operands, options.data, 16 if options.images is None else options.images,
        2 if options.seeds is None else options.seeds, options.device or "auto", limit, options.threads or 0,
    )  # fmt: skip
    if options.dry_run:
        return _dry(asked)
    done = begin(asked, name=options.name, out=options.out, command=call.command, quiet=options.json, began=began)
    return _outcome(done, call.operands)


def _dry(asked: Asked) -> Outcome:
    from vitrail.contracts import Backbone
    from vitrail.cost.count import gmacs
    from vitrail.report.numbers import share
    from vitrail.study.reach.study import open_all

    opened = open_all(asked)
    images = min(asked.images, len(opened.indices))
    told = []
    for subject in opened.subjects:
        sketch = subject.sketch()
        states = sum(1 for state in subject.states(asked.seeds) if state.placed)
        layers = len(cast(Backbone, sketch.backbone).blocks())
        # a forward pass for distances and one for fields, and from each layer back, half of the way on the mean
        cost = gmacs(sketch, subject.preprocessor.size, subject.preprocessor.channels) * images * states * (2 + layers)
        told.append({"model": subject.name, "states": states, "layers": layers, "gmacs": cost})
    whole = sum(float(str(one["gmacs"])) for one in told)
    rows = [
        [str(one["model"]), str(one["states"]), str(one["layers"]), f"{one['gmacs']:,.1f}",
         share(float(str(one["gmacs"])) / whole)]
        for one in told
    ]  # fmt: skip
    headers = ["model", "states", "layers", "GMACs", "share"]
    print(table(headers, rows, numbers=headers[1:]))
    print(wrapped(f"{images} images of {opened.source.name}; about {whole:,.0f} GMACs in all. Nothing was written."))
    return Outcome(result={"images": images, "cells": told})


def _outcome(done: Done, given: Sequence[str]) -> Outcome:
    from vitrail.study.reach import words

    print()
    for sentence in words.verdict(done.found):
        print(wrapped(sentence))
    claims = [claim.record() for claim in words.claims(done.found)]
    return Outcome(
        result={"study": done.folder, "claims": claims, "failed": done.failed},
        outputs=done.outputs,
        warnings=[f"{name} was not measured: {why}" for name, why in done.failed.items()],
        where=done.outputs[0],
        next=[command("study", "invariance", *(given or [one.where or one.model for one in done.found]))],
    )


REACH = Verb(
    name="study reach",
    summary="How far the heads of a model look, and from how far pixels count in what a cell becomes, layer by layer: "
    "trained, and with fresh weights. Attention distance and effective receptive fields.",
    options=ReachOptions,
    operands=Operands("RUN|MODEL...", 0, None),
    meanings={
        "RUN": "a run that train made: measured as it is and with fresh weights, on the images that it held back",
        "MODEL": "a name of the catalogue: measured with fresh weights",
    },
    function=reach,
    examples=[
        "vitrail study reach runs/train/digits runs/train/digits-2",
        "vitrail study reach runs/train/PHOTOS resnet18 swin_tiny",
        "vitrail study reach vit_tiny swin_tiny pvt_v2_b0 resnet18 --images 8",
    ],
    more="Models are measured one after another; what is stopped goes on with --resume and loses one model at most.",
)
