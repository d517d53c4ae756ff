"""`vitrail study reach RUN|MODEL...`: how far heads look, and from how far pixels count, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vitrail.cli.console import table
from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, option
from vitrail.cli.study_subjects import MEANINGS, MORE, OPERANDS, SubjectsOptions, begin_or_resume, image_gmacs, outcome
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.study.reach.study import Asked, Done, ReachStudy
    from vitrail.study.subjects_study import Opened


@dataclass(frozen=True)
class ReachOptions(SubjectsOptions):
    """What to measure, on which images, for how long."""

    data: str | None = option(
        "other images than the first run held back; without a run, drawn shapes are taken", "DATA"
    )
    images: int | None = option("images at most, the same for all models (16)", "N")
    seeds: int | None = option("fresh weights of each model, beside the trained ones (2; 0 for none)", "N")
    time: str | None = option("wall time in all; models that begin after it are left out: 10m, 90s", "TIME")


def reach(call: Call[ReachOptions]) -> Outcome:
    """Measure the models, say what is seen, and write the report."""
    return begin_or_resume(call, _load, _dry, lambda done: _outcome(done, call.operands))


def _load() -> ReachStudy:
    from vitrail.study.reach.study import STUDY

    return STUDY


def _dry(asked: Asked, opened: Opened) -> Outcome:
    from vitrail.contracts import Backbone
    from vitrail.report.numbers import share

    images = min(asked.images, len(opened.indices))
    cells = []
    for subject in opened.subjects:
        states = sum(1 for state in subject.states(asked.seeds) if state.placed)
        layers = len(cast(Backbone, subject.sketch().backbone).blocks())
        # a forward pass for distances and one for fields, and from each layer back, half of the way on the mean
        cells.append((subject.name, states, layers, image_gmacs(subject) * images * states * (2 + layers)))
    whole = sum(cost for _, _, _, cost in cells)
    rows = [
        [name, str(states), str(layers), f"{cost:,.1f}", share(cost / whole)] for name, states, layers, cost in cells
    ]
    headers = ["model", "states", "layers", "GMACs", "share"]
    print(table(headers, rows, numbers=headers[1:]))
    print(wrapped(f"{images} images of {opened.source.name}; about {whole:,.0f} GMACs in all. Nothing was written."))
    told = [dict(zip(("model", "states", "layers", "gmacs"), cell, strict=True)) for cell in cells]
    return Outcome(result={"images": images, "cells": told})


def _outcome(done: Done, given: Sequence[str]) -> Outcome:
    from vitrail.study.reach import words

    models = given or [one.where or one.model for one in done.found]
    following = [command("study", "invariance", *models)]
    return outcome(done, words.verdict(done.found), words.claims(done.found), following)


REACH = Verb(
    name="study reach",
    summary="How far the heads of a model look, and from how far pixels count in what a cell becomes, layer by layer: "
    "trained, and with fresh weights. Attention distance and effective receptive fields.",
    options=ReachOptions,
    operands=OPERANDS,
    meanings=MEANINGS,
    function=reach,
    examples=[
        "vitrail study reach runs/train/digits runs/train/digits-2",
        "vitrail study reach runs/train/PHOTOS resnet18 swin_tiny",
        "vitrail study reach vit_tiny swin_tiny pvt_v2_b0 resnet18 --images 8",
    ],
    more=MORE,
)
