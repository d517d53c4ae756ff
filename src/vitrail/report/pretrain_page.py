"""report.html of a run of `vitrail pretrain`: how well hidden parts are filled in, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrail import settings
from vitrail.data.statement import restated, words
from vitrail.explain import page
from vitrail.report import frame, geometry, plots, summary
from vitrail.report.data import Gallery, Strip, percent, thousands
from vitrail.settings import Config

PICTURES = (
    "Held-out images, filled in by the model as it was after the last epoch. What is filled in is a likely middle of"
    " all that could stand there: blur is no fault."
)
CONTRAST = " Each patch is given the mean and the contrast of the true one, which the model is not asked for."


@dataclass(frozen=True)
class Pretraining:
    """Everything on the page, as plain values.

    loss: of the best epoch, on the val images, where they were hidden.  guess: the same of `guessing`, in words.
    hidden: how many squares of how many, `unit` pixels a side.  images: of each split.  split: how it was made.
    targets: whether the data has some to train on.  Otherwise as in `ReportData`.
    """

    name: str
    config: Config
    history: Sequence[Mapping[str, Any]]
    best_epoch: float | None
    loss: float
    guess: float
    guessing: str
    hidden: str
    unit: int
    pictures: Sequence[Strip] = ()
    images: Mapping[str, int] = field(default_factory=dict)
    split: str = ""
    reasons: Sequence[tuple[str, Any, str]] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    targets: bool = True

    @property
    def leaves_out(self) -> bool:
        """Whether hidden patches are left out (MAE), and not painted over."""
        return self.config.pretrain.decoder_width is not None


def write_pretraining(folder: Path, data: Pretraining) -> Path:
    """Write report.html and figures/*.png into `folder`; returns the page's path. TrainingError if the disk refuses."""
    figures = plots.draw_training(data.history, data.best_epoch) if data.history else {}
    plots.write_figures(folder / "figures", figures)
    words = {"loss": "Loss on train and val after each epoch", "learning_rate": "Learning rate over the epochs"}
    model = data.config.model
    html = (
        frame.environment()
        .get_template("pretrain.html.j2")
        .render(
            name=data.name,
            contents=_contents(data),
            subtitle=f"{model.name} on {data.config.data.source} · {model.image_size} px images in patches of"
            f" {model.patch_size} · {thousands(data.images.get('train', 0))} training images without targets",
            loss=data.loss,
            guess=data.guess,
            guessing=data.guessing,
            verdict=_verdict(data),
            cautions=data.warnings,
            training=_training(data),
            curves=[plots.to_svg(figure, name, words[name]) for name, figure in figures.items()],
            gallery=Gallery("", PICTURES + (CONTRAST if data.leaves_out else ""), strips=data.pictures),
            images=data.images,
            split=data.split,
            trained=geometry.trained(data.config, dense=False),
            cost=summary.cost_rows(data.cost),
            reasons=[(name, summary.setting(value), why) for name, value, why in data.reasons],
            next=onward(folder, data.config, data.config.data.source if data.command else "DATA", data.targets),
            targets=data.targets,
            config=settings.to_yaml(data.config),
            versions=list(data.versions.items()),
            command=data.command,
            version=data.versions.get("vitrail", ""),
        )
    )
    return page.write(folder / "report.html", html)


def onward(folder: Path, config: Config, place: str, targets: bool) -> str:
    """The command that trains from what was learned: on the same images, divided in the same way, if they have targets.

    place: where they are.  The number of channels is left out: the weights say it.
    """
    if not targets:
        return shlex.join(["vitrail", "train", "DATA", "--from", str(folder)])
    stated = restated(config.data)
    stated.pop("data.channels", None)
    return shlex.join(["vitrail", "train", place, "--from", str(folder), *words(stated)])


def _contents(data: Pretraining) -> list[tuple[str, str]]:
    there = [
        ("summary", "Summary", True),
        ("pictures", "Filled in", bool(data.pictures)),
        ("training", "Training", bool(data.history)),
        ("data", "Data", True),
        ("cost", "Cost", bool(data.cost)),
        ("choices", "Choices", bool(data.reasons)),
        ("repeat", "Repeat", True),
    ]
    return [(anchor, title) for anchor, title, shown in there if shown]


def _verdict(data: Pretraining) -> list[str]:
    what = "left out" if data.leaves_out else "painted over with the mean colour"
    told = [f"{data.hidden} squares of {data.unit} px were {what} in every image, and filled in from the rest."]
    less = 1 - data.loss / data.guess if data.guess else 0.0
    measure = (
        "mean squared error of pixels, each patch normalised" if data.leaves_out else "mean absolute error of pixels"
    )
    if less > 0.01:
        told.append(
            f"On held-out images the loss where they were hidden ({measure}) is {data.loss:.3f},"
            f" {percent(less)} below the {data.guess:.3f} of {data.guessing}: the model has learned what goes with"
            " what."
        )
    else:
        beside = "hardly below" if less > 0 else "no better than"
        told.append(
            f"On held-out images the loss where they were hidden ({measure}) is {data.loss:.3f}, {beside} the"
            f" {data.guess:.3f} of {data.guessing}: nothing was learned yet that could be handed on. Train for more"
            " epochs, or hide less."
        )
    told.append("How much this helps is known once a model was trained from it and one from scratch.")
    return told


def _training(data: Pretraining) -> list[str]:
    if not data.history:
        return []
    last = float(data.history[-1]["epoch"])
    told = [f"{len(data.history)} epochs."]
    if data.best_epoch is not None:
        told = [f"The weights of epoch {data.best_epoch:g} of {last:g} were kept: lowest val loss."]
        if data.best_epoch == last:
            told.append("The best epoch is the last: more epochs would probably help.")
    return told
