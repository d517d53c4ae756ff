"""Statistics of a model as pictures: the figures 7 and 11 of the ViT paper (arXiv 2010.11929), for any family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vitrail.explain import typeface
from vitrail.explain.statistics import Reach

INK, DOT = "#1c2331", "#0072b2"
LARGEST = 16
"""Places a side of the picture of similarities: of a finer grid one in two, or in three, is drawn."""


def attention_distance(layers: Sequence[Reach], size: tuple[int, int]) -> Figure:
    """How far each head looks, by depth: one dot a head, pixels of images of (H, W). Line: the mean of its heads."""
    figure, axes = _axes(f"Mean attention distance on images of {size[1]} x {size[0]} pixels", "pixels")
    _dots(axes, [layer.distance for layer in layers])
    axes.set_ylim(0, max(1.0, *(float(layer.distance.max()) for layer in layers)) * 1.08)
    return figure


def attention_entropy(layers: Sequence[Reach]) -> Figure:
    """How evenly each head looks at its keys, by depth: one dot a head, in nats. Line: the mean of its heads."""
    figure, axes = _axes("Mean entropy of attention", "nats")
    _dots(axes, [layer.entropy for layer in layers])
    axes.set_ylim(0, max(0.1, *(float(layer.entropy.max()) for layer in layers)) * 1.08)
    return figure


def position_similarity(similarity: Tensor) -> Figure:
    """A map for each patch: how alike its position is to every other's. (h, w, h, w) in [-1, 1]."""
    grid = similarity.shape[:2]
    step = math.ceil(max(grid) / LARGEST)
    rows, columns = (range(step // 2, length, step) for length in grid)
    high = len(rows) * grid[0] / (len(columns) * grid[1])  # of all maps together, over their width
    figure = Figure(figsize=(6.4, 0.6 + 5.4 * high), layout="constrained")
    tiles = figure.subplots(len(rows), len(columns), squeeze=False)
    shown: Any = None
    for line, i in zip(tiles, rows, strict=True):
        for axes, j in zip(line, columns, strict=True):
            shown = axes.imshow(similarity[i, j].numpy(), vmin=-1, vmax=1, cmap="cividis", interpolation="nearest")
            axes.set_axis_off()
    with _lettering():
        bar = figure.colorbar(shown, ax=tiles, shrink=0.8)
        bar.set_label("cosine similarity")
        every = f", one in {step} shown" if step > 1 else ""
        figure.suptitle(f"Position embedding similarity, {grid[0]} x {grid[1]} patches{every}", color=INK)
    return figure


def patch_filters(filters: Tensor) -> Figure:
    """Components of the first convolution, (K, C, P, P), each on its own scale; grey where C is neither 3 nor 4."""
    count, across = len(filters), 7
    down = -(-count // across)
    figure = Figure(figsize=(6.4, 0.5 + 0.9 * down), layout="constrained")
    tiles = figure.subplots(down, across, squeeze=False).ravel()
    for axes in tiles:
        axes.set_axis_off()
    for axes, own in zip(tiles, filters.numpy(), strict=False):
        scaled = 0.5 + 0.5 * own / max(float(np.abs(own).max()), 1e-12)  # 0 is the middle grey
        if len(scaled) in (3, 4):
            axes.imshow(scaled[:3].transpose(1, 2, 0), interpolation="nearest")
        else:
            axes.imshow(scaled.mean(axis=0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    with _lettering():
        side = f"{filters.shape[2]} x {filters.shape[3]}"
        figure.suptitle(f"First {count} principal components of the {side} filters", color=INK)
    return figure


def _axes(title: str, unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    with _lettering():
        axes = figure.subplots()
        axes.set_xlabel("Layer")
        axes.set_ylabel(unit)
        axes.set_title(title, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def _dots(axes: Axes, layers: Sequence[Tensor]) -> None:
    for number, heads in enumerate(layers):
        axes.plot([number] * len(heads), heads.tolist(), "o", color=DOT, alpha=0.6, markersize=4.5, zorder=3)
    axes.plot(range(len(layers)), [float(heads.mean()) for heads in layers], color=INK, linewidth=1)


def _lettering() -> Any:
    from matplotlib import rc_context

    return rc_context({"font.family": typeface.families(), "font.size": 9})
