"""`vitrail study invariance RUN|MODEL...`: what of an answer stays when the image is shifted, turned or cut up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, option
from vitrail.cli.study_subjects import MEANINGS, MORE, OPERANDS, SubjectsOptions, begin_or_resume, image_gmacs, outcome
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.study.invariance.study import Asked, Done, InvarianceStudy, Opened


@dataclass(frozen=True)
class InvarianceOptions(SubjectsOptions):
    """What to measure, on which images, for how long."""

    data: str | None = option("other images than the first run held back; needed where no run is given", "DATA")
    images: int | None = option("images at most, the same for all models (128)", "N")
    seeds: int | None = option("fresh weights of each model, beside the trained ones (3; 0 for none)", "N")
    time: str | None = option("wall time in all; as many images as fit: 10m, 90s", "TIME")


def invariance(call: Call[InvarianceOptions]) -> Outcome:
    """Measure the models, show what stays, and write the report."""
    return begin_or_resume(call, _load, _dry, _outcome)


def _load() -> InvarianceStudy:
    from vitrail.study.invariance.study import STUDY

    return STUDY


def _dry(asked: Asked, opened: Opened) -> Outcome:
    from vitrail.report.numbers import share

    images = min(asked.images, len(opened.indices))
    cells = []
    for subject in opened.subjects:
        states = len(subject.states(asked.seeds))
        passes = states * images * (1 + len(opened.conditions))
        cells.append((subject.name, states, passes, image_gmacs(subject) * passes))
    whole = sum(passes for _, _, passes, _ in cells)
    rows = [
        [name, str(states), f"{passes:,}", share(passes / whole), f"{cost:,.1f}"]
        for name, states, passes, cost in cells
    ]
    print(table(["model", "states", "passes", "share", "GMACs"], rows, numbers=["states", "passes", "share", "GMACs"]))
    print(wrapped(f"{images} images as they are and under {len(opened.conditions)} changes; nothing was written."))
    if asked.time is not None:
        print(wrapped("How many of the images fit into the time is known once the models have been tried."))
    told = [dict(zip(("model", "states", "passes", "gmacs"), cell, strict=True)) for cell in cells]
    return Outcome(result={"images": images, "changes": len(opened.conditions), "cells": told})


def _outcome(done: Done) -> Outcome:
    from vitrail.study.invariance import words

    following = [command("study", "invariance", "--help")] if done.failed else []
    return outcome(done, words.verdict(done.found), words.claims(done.found), following)


INVARIANCE = Verb(
    name="study invariance",
    summary="What of a model's answer stays when the image is shifted, scaled, mirrored, turned, or its patches change "
    "places: trained, with fresh weights, and a ViT without its positions.",
    options=InvarianceOptions,
    operands=OPERANDS,
    meanings=MEANINGS,
    function=invariance,
    examples=[
        "vitrail study invariance runs/train/digits runs/train/digits-2",
        "vitrail study invariance runs/train/PHOTOS resnet18 swin_tiny --time 5m",
        "vitrail study invariance vit_tiny resnet18 --data digits --dry-run",
    ],
    more=MORE,
)
