"""The figures of one trained ViT, from the pixels of a digit to what is said of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pages
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from vitrail.artifact import Artifact, load
from vitrail.data.builtin import DigitsSource
from vitrail.explain import figures as of_explanations
from vitrail.explain.attention import attend
from vitrail.explain.profile import beside, even_distance
from vitrail.explain.statistics import position_similarity, reach
from vitrail.models.vit import ViT
from vitrail.report import plots
from vitrail.report.charts import INK, LINE, MUTED, SERIES
from vitrail.study.reach.field import block_maps, fields, sized
from vitrail.study.statistics.intervals import Interval

Numbers = dict[str, str]
Drawn = tuple[Figure, Numbers]

PROFILED = 64
"""Test digits over which heads are averaged."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run on digits. images (B, 3, 8, 8) of its test split, normalised; pixels (8, 8) of the first digit."""

    folder: Path
    artifact: Artifact
    rows: list[dict[str, str]]
    images: Tensor
    pixels: Any

    @property
    def backbone(self) -> ViT:
        """The encoder."""
        return cast(ViT, self.artifact.model.backbone)


def read(folder: Path) -> Run:
    """The run's best model and its test digits; the first is one that it has right."""
    artifact = load(folder)
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    rows.sort(key=lambda row: row["label"] != row["target"])  # stable: those that are right come first
    source = DigitsSource()
    places = [int(row["path"].rsplit("/", 1)[1]) for row in rows]
    ready = np.stack([artifact.preprocessor(source.read(place, 3)) for place in places])
    return Run(folder, artifact, rows, torch.from_numpy(ready), source.read(places[0], 1)[..., 0])


def patches(run: Run) -> Drawn:
    """The digit, and the squares it is cut into, in the order of their tokens."""
    config = run.backbone.config
    side, (height, width) = config.patch_size, run.backbone.grid
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(run.pixels, cmap="gray", vmin=0, vmax=255)
    for number in range(height * width):
        row, column = divmod(number, width)
        corner = (column * side - 0.5, row * side - 0.5)
        left.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=SERIES[1], linewidth=1.2))
    left.set_title(f"{run.pixels.shape[0]} x {run.pixels.shape[1]} pixels", loc="left", fontsize=8.5)
    gap = side + 1
    apart = np.full((height * gap - 1, width * gap - 1), np.nan)
    for row in range(height):
        for column in range(width):
            cut = run.pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
            apart[row * gap : row * gap + side, column * gap : column * gap + side] = cut
            right.text(column * gap - 0.35, row * gap - 0.2, str(row * width + column), color=SERIES[1], fontsize=7)
    right.imshow(np.ma.masked_invalid(apart), cmap="gray", vmin=0, vmax=255)
    right.set_title(f"{height * width} patches of {side} x {side}", loc="left", fontsize=8.5)
    for axes in (left, right):
        axes.set_axis_off()
    return figure, {
        "patch.side": str(side), "patch.count": str(height * width), "patch.values": str(side * side * 3),
        "image.side": str(run.pixels.shape[0]), "width": str(config.width), "depth": str(config.depth),
        "heads": str(config.heads),
    }  # fmt: skip


def tokens(run: Run) -> Drawn:
    """What each patch has become, and that a convolution is nothing but cutting and one linear layer."""
    embed = run.backbone.patch_embed
    with torch.no_grad():
        made = embed(run.images[:1])[0]  # (N, D)
        side = run.backbone.config.patch_size
        cut = torch.nn.functional.unfold(run.images[:1], side, stride=side)[0].T  # (N, C P^2)
        linear = cut @ embed.proj.weight.flatten(1).T + embed.proj.bias
        off = float((made - linear).abs().max())
    figure = Figure(figsize=(6.4, 2.1), layout="constrained")
    axes = figure.add_subplot()
    reach_ = float(made.abs().max())
    shown = axes.imshow(made.numpy(), cmap="PuOr", vmin=-reach_, vmax=reach_, aspect="auto", interpolation="none")
    axes.set_xlabel(f"the {made.shape[1]} numbers of a token")
    axes.set_ylabel("patch")
    axes.grid(visible=False)
    figure.colorbar(shown, ax=axes, shrink=0.9).outline.set_visible(False)  # type: ignore[operator]
    return figure, {"tokens.off": _small(off)}


def positions(run: Run) -> Drawn:
    """How alike positions are; and what is left of the answer when patches change places, with and without them."""
    alike = position_similarity(run.artifact.model).cpu().numpy()
    near, far = beside(alike)
    agree, without, change = _shuffled(run)
    figure = of_explanations.position_similarity(alike)
    return figure, {
        "positions.near": f"{near:.2f}", "positions.far": f"{far:.2f}", "positions.shuffled": pages.percent(agree),
        "positions.none": _small(without), "positions.change": f"{change:.1f}",
    }  # fmt: skip


def _shuffled(run: Run) -> tuple[float, float, float]:
    """The share of digits that are answered alike when their patches are put in one other order; by how much outputs
    change where no position is added; and where they are."""
    backbone, model = run.backbone, run.artifact.model
    side, (height, width) = backbone.config.patch_size, backbone.grid
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    cut = torch.nn.functional.unfold(run.images, side, stride=side)  # (B, C P^2, N)
    moved = torch.nn.functional.fold(cut[:, :, order], tuple(run.images.shape[2:]), side, stride=side)
    with torch.no_grad():
        said, other = model(run.images), model(moved)
        agree = float((said.argmax(1) == other.argmax(1)).float().mean())
        change = float((said - other).abs().mean())
        learned = cast(Tensor, backbone.pos_embed)
        kept = learned.detach().clone()
        learned.zero_()
        without = float((model(run.images) - model(moved)).abs().max())
        learned.copy_(kept)
    return agree, without, change


def attention(run: Run) -> Drawn:
    """Who looks at whom in each layer, the mean of its heads, for one digit: a row is one token's gaze, its sum 1."""
    layers = attend(run.artifact.model, run.images[:1]).layers
    with torch.no_grad():
        matrices = [layer.matrix()[0].mean(dim=0).numpy() for layer in layers]  # (K + N, K + N)
        sums = np.array([layer.matrix()[0].sum(dim=-1).numpy() for layer in layers])
    figure = Figure(figsize=(6.4, 2.2), layout="constrained")
    panels = figure.subplots(1, len(matrices), sharey=True)
    for number, (axes, matrix) in enumerate(zip(panels, matrices, strict=True), 1):
        axes.imshow(matrix, cmap="cividis", vmin=0, interpolation="none")
        axes.set_title(f"layer {number}", loc="left", fontsize=8.5)
        axes.set_xticks([0, 8, 16])
        axes.set_yticks([0, 8, 16])
        axes.grid(visible=False)
    panels[0].set_ylabel("who looks (0 is [CLS])")
    figure.supxlabel("at whom", fontsize=8.5, color=MUTED)
    return figure, {"attention.off": _small(np.abs(sums - 1).max())}


def gaze(run: Run) -> Drawn:
    """Where [CLS] takes its information from in the last layer, head by head, over the digit."""
    layer = attend(run.artifact.model, run.images[:1]).layers[-1]
    with torch.no_grad():
        looked = layer.matrix()[0, :, 0, 1:].reshape(-1, *run.backbone.grid).numpy()  # (A, h, w)
    figure = Figure(figsize=(6.4, 2.0), layout="constrained")
    panels = figure.subplots(1, len(looked) + 1)
    panels[0].imshow(run.pixels, cmap="gray", vmin=0, vmax=255)
    panels[0].set_title("the digit", loc="left", fontsize=8.5)
    for number, (axes, map_) in enumerate(zip(panels[1:], looked, strict=True), 1):
        axes.imshow(map_, cmap="cividis", vmin=0, interpolation="none")
        axes.set_title(f"head {number}", loc="left", fontsize=8.5)
    for axes in panels:
        axes.set_axis_off()
    return figure, {}


def heads(run: Run) -> Drawn:
    """How far each head looks, and that the first layer already reaches across the image."""
    layers = reach(run.artifact.model, run.images[:PROFILED])
    size = (run.images.shape[2], run.images.shape[3])
    even = even_distance(layers[0].grid, size)
    first, last = layers[0].distance, layers[-1].distance
    return of_explanations.attention_distance(layers, size, even), {
        "heads.first_low": f"{first.min():.1f}", "heads.first_high": f"{first.max():.1f}",
        "heads.last_low": f"{last.min():.1f}", "heads.last_high": f"{last.max():.1f}", "heads.even": f"{even:.1f}",
        "heads.images": str(min(PROFILED, len(run.images))),
    }  # fmt: skip


def receptive(run: Run) -> Drawn:
    """Which pixels the central patch's token depends on, as it is made and after each block: as `study reach` says."""
    backbone = run.backbone
    _, after_blocks = block_maps(run.artifact.model)

    def maps(images: Tensor) -> list[Tensor]:
        made = backbone.patch_embed(images).transpose(1, 2).unflatten(2, backbone.grid)  # (B, D, h, w)
        return [made, *after_blocks(images)]

    found = fields(maps, run.images[:PROFILED])  # (1 + L, B, H, W)
    figure = Figure(figsize=(6.4, 1.9), layout="constrained")
    panels = figure.subplots(1, len(found))
    for depth, (axes, several) in enumerate(zip(panels, found, strict=True)):
        shown = np.sqrt(several.mean(axis=0))  # the root, since fields are of squares
        axes.imshow(shown / shown.max(), cmap="cividis", vmin=0, vmax=1, interpolation="none")
        axes.set_title(f"after block {depth}" if depth else "as a token", loc="left", fontsize=8.5)
        axes.set_axis_off()
    counted = [int((several.mean(axis=0) > 0).sum()) for several in found]
    beyond = [sized(several, backbone.grid).beyond for several in found]
    return figure, {
        "receptive.token": str(counted[0]), "receptive.first": str(counted[1]), "receptive.all": str(found[0][0].size),
        **_percent("receptive.outside_first", beyond[1]), **_percent("receptive.outside_last", beyond[-1]),
    }  # fmt: skip


def _percent(key: str, share: Interval) -> Numbers:
    return pages.interval(key, share.value, share.low, share.high)


def prediction(run: Run) -> Drawn:
    """What is said of the digit, and of all test digits."""
    with torch.no_grad():
        odds = torch.softmax(run.artifact.model(run.images[:1])[0], dim=0).numpy()
    labels = run.artifact.task.state()["labels"]
    said = int(odds.argmax())
    figure = Figure(figsize=(6.4, 2.0), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(odds)), odds, color=[SERIES[0] if place == said else LINE for place in range(len(odds))])
    axes.set_xticks(range(len(odds)), labels, color=INK)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    right = [row["label"] == row["target"] for row in run.rows]
    half = 1.96 * float(np.sqrt(np.mean(right) * (1 - np.mean(right)) / len(right)))
    return figure, {
        "said": labels[said], "confidence": f"{odds[said]:.3f}", "test.accuracy": f"{np.mean(right):.3f}",
        "test.half": f"{half:.3f}", "test.images": str(len(right)),
    }  # fmt: skip


def training(run: Run) -> Drawn:
    """Loss over the epochs."""
    with (run.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        history = list(csv.DictReader(file))
    count = sum(parameter.numel() for parameter in run.artifact.model.parameters())
    figure = plots.draw_training(history, None)["loss"]
    return figure, {"epochs": f"{float(history[-1]['epoch']):g}", "parameters": f"{count:,}"}


def _small(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


FIGURES: dict[str, Callable[[Run], Drawn]] = {
    "patches": patches, "tokens": tokens, "positions": positions, "attention": attention, "gaze": gaze,
    "heads": heads, "receptive": receptive, "prediction": prediction, "training": training,
}  # fmt: skip
"""Name of the picture -> how it is drawn; inside `plots.style`."""
