"""`vitrail study invariance RUN|MODEL...`: what of an answer stays when the image is shifted, turned or cut up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.study_cells import NO_MODELS, resumed
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.settings import seconds_of

if TYPE_CHECKING:
    from vitrail.study.invariance.study import Asked, Done


@dataclass(frozen=True)
class InvarianceOptions(Options):
    """What to measure, on which images, for how long."""

    data: str | None = option("other images than the first run held back; needed where no run is given", "DATA")
    images: int | None = option("images at most, the same for all models (128)", "N")
    seeds: int | None = option("fresh weights of each model, beside the trained ones (3; 0 for none)", "N")
    time: str | None = option("wall time in all; as many images as fit: 10m, 90s", "TIME")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")
    threads: int | None = option("threads that compute, 0 for PyTorch's own choice (0)", "N")
    dry_run: bool = flag("show what would be measured and write nothing")
    name: str | None = option("name of the study; a number is added if taken", "NAME", "Study")
    out: Path | None = option("the study's folder itself; refused if it exists", "FOLDER", "Study")
    resume: Path | None = option("go on with the study in this folder", "FOLDER", "Study")


def invariance(call: Call[InvarianceOptions]) -> Outcome:
    """Measure the models, show what stays, and write the report."""
    began = time.monotonic()
    options = call.options
    if (folder := resumed(call, NO_MODELS)) is not None:
        from vitrail.study.invariance.study import resume

        return _outcome(call, resume(folder, quiet=options.json, began=began))
    limit = seconds_of(options.time) if options.time is not None else None
    from vitrail.study.invariance.study import Asked, begin

    asked = Asked(
        call.operands, options.data, 128 if options.images is None else options.images,
        3 if options.seeds is None else options.seeds, options.device or "auto", limit, options.threads or 0,
    )  # fmt: skip
    if options.dry_run:
        return _dry(asked)
    done = begin(asked, name=options.name, out=options.out, command=call.command, quiet=options.json, began=began)
    return _outcome(call, done)


def _dry(asked: Asked) -> Outcome:
    from vitrail.cost.count import gmacs
    from vitrail.report.numbers import share
    from vitrail.study.invariance.study import planned

    opened, answers = planned(asked)
    images = min(asked.images, len(opened.indices))
    rows, cells = [], []
    for subject in opened.subjects:
        states = len(subject.states(asked.seeds))
        passes = states * images * (1 + len(opened.conditions))
        cost = gmacs(subject.sketch(), subject.preprocessor.size, subject.preprocessor.channels) * passes
        rows.append([subject.name, str(states), f"{passes:,}", share(passes / answers), f"{cost:,.1f}"])
        cells.append({"model": subject.name, "states": states, "passes": passes, "gmacs": cost})
    print(table(["model", "states", "passes", "share", "GMACs"], rows, numbers=["states", "passes", "share", "GMACs"]))
    print(wrapped(f"{images} images as they are and under {len(opened.conditions)} changes; nothing was written."))
    if asked.time is not None:
        print(wrapped("How many of the images fit into the time is known once the models have been tried."))
    result = {"images": images, "changes": len(opened.conditions), "cells": cells}
    return Outcome(result=result)


def _outcome(call: Call[InvarianceOptions], done: Done) -> Outcome:
    from vitrail.study.invariance import words

    print()
    for sentence in words.verdict(done.found):
        print(wrapped(sentence))
    claims = [claim.record() for claim in words.claims(done.found)]
    return Outcome(
        result={"study": done.folder, "claims": claims, "failed": done.failed},
        outputs=done.outputs,
        warnings=[f"{name} was not measured: {why}" for name, why in done.failed.items()],
        where=done.outputs[0],
        next=[command("study", "invariance", "--help")] if done.failed else [],
    )


INVARIANCE = Verb(
    name="study invariance",
    summary="What of a model's answer stays when the image is shifted, scaled, mirrored, turned, or its patches change "
    "places: trained, with fresh weights, and a ViT without its positions.",
    options=InvarianceOptions,
    operands=Operands("RUN|MODEL...", 0, None),
    meanings={
        "RUN": "a run that train made: measured as it is and with fresh weights, on the images that it held back",
        "MODEL": "a name of the catalogue: measured with fresh weights",
    },
    function=invariance,
    examples=[
        "vitrail study invariance runs/train/digits runs/train/digits-2",
        "vitrail study invariance runs/train/PHOTOS resnet18 swin_tiny --time 5m",
        "vitrail study invariance vit_tiny resnet18 --data digits --dry-run",
    ],
    more="Models are measured one after another; what is stopped goes on with --resume and loses one model at most.",
)
