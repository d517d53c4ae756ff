"""Statistics of a model as pictures: the figures 7 and 11 of the ViT paper (arXiv 2010.11929), for any family.

What is not drawn is left clear, so that they stand on light and dark alike; no torch is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitrail.contracts import Floats
from vitrail.explain import typeface
from vitrail.explain.profile import LayerProfile, Profile

INK, MUTED, DOT, MEAN = "#1c2331", "#5b6473", "#0072b2", "#d55e00"
LARGEST = 16
"""Places a side of the picture of similarities: of a finer grid one in two, or in three, is drawn."""
ACROSS, FINEST = 7, 48
"""Filters in a row, and pixels along the side of one: larger ones are made smaller."""
ALTERNATIVES: Mapping[str, str] = {
    "attention_distance": "Mean attention distance of every head, by layer",
    "attention_entropy": "Mean entropy of every head's attention, by layer",
    "position_similarity": "How alike the position embeddings of any two patches are",
    "patch_filters": "Principal components of the first layer's filters",
}
"""What a screen reader says of each."""


def drawn(profile: Profile) -> dict[str, Figure]:
    """Name -> figure, of all that is known."""
    made: dict[str, Figure] = {}
    if profile.layers:
        made["attention_distance"] = attention_distance(profile.layers, profile.size, profile.even)
        made["attention_entropy"] = attention_entropy(profile.layers)
    if profile.positions is not None:
        made["position_similarity"] = position_similarity(profile.positions)
    if profile.filters is not None:
        made["patch_filters"] = patch_filters(profile.filters)
    return made


def attention_distance(layers: Sequence[LayerProfile], size: tuple[int, int], even: float = 0.0) -> Figure:
    """How far each head looks, by depth: one dot a head, pixels of images of (H, W). Line: the mean of its heads.

    even: how far attention spread evenly over the image would look, drawn where it is not 0.
    """
    figure, axes = _axes(f"pixels, of images of {size[1]} x {size[0]}")
    _dots(axes, [layer.distance for layer in layers])
    top = max(1.0, even, *(float(layer.distance.max()) for layer in layers))
    if even:
        axes.axhline(even, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="spread evenly")
    axes.set_ylim(0, top * 1.08)
    _legend(axes)
    return figure


def attention_entropy(layers: Sequence[LayerProfile]) -> Figure:
    """How evenly each head looks at its keys, by depth: one dot a head, in nats. Line: the mean of its heads."""
    figure, axes = _axes("entropy, nats")
    _dots(axes, [layer.entropy for layer in layers])
    axes.set_ylim(0, max(0.1, *(float(layer.entropy.max()) for layer in layers)) * 1.08)
    _legend(axes)
    return figure


def position_similarity(similarity: Floats) -> Figure:
    """A map for each patch: how alike its position is to every other's. (h, w, h, w) in [-1, 1]."""
    grid = similarity.shape[:2]
    step = math.ceil(max(grid) / LARGEST)
    rows, columns = (range(step // 2, length, step) for length in grid)
    joined = _mosaic([[similarity[i, j] for j in columns] for i in rows], max(1, round(max(grid) / 7)))
    figure = Figure(figsize=(4.2, 0.2 + 3.2 * joined.shape[0] / joined.shape[1]), layout="constrained")
    with _lettering():
        axes = figure.add_subplot()
        shown = axes.imshow(np.ma.masked_invalid(joined), vmin=-1, vmax=1, cmap="cividis", interpolation="none")
        axes.set_axis_off()
        bar = figure.colorbar(shown, ax=axes, shrink=0.8)
        bar.outline.set_visible(False)
        every = f", one in {step} shown" if step > 1 else ""
        bar.set_label(f"cosine similarity, {grid[0]} x {grid[1]} patches{every}")
    return figure


def patch_filters(filters: Floats) -> Figure:
    """Components of the first convolution, (K, C, P, P), each on its own scale; grey where C is neither 3 nor 4."""
    side = math.ceil(max(filters.shape[2:]) / FINEST)
    tiles = [_coloured(own)[::side, ::side] for own in filters]
    blank = np.full_like(tiles[0], np.nan)
    lines = [tiles[first : first + ACROSS] for first in range(0, len(tiles), ACROSS)]
    across = max(map(len, lines))
    joined = _mosaic([line + [blank] * (across - len(line)) for line in lines], max(1, round(tiles[0].shape[0] / 8)))
    clear = np.isnan(joined[..., :1])
    figure = Figure(figsize=(0.6 * across, 0.6 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.concatenate([np.nan_to_num(joined), 1.0 - clear], axis=2), interpolation="none")
    axes.set_axis_off()
    return figure


def _coloured(own: Floats) -> Floats:
    """A filter (C, P, P) -> (P, P, 3) in [0, 1]; 0 is the middle grey."""
    scaled = 0.5 + 0.5 * own / max(float(np.abs(own).max()), 1e-12)
    colour: Floats = scaled[:3] if len(scaled) in (3, 4) else np.repeat(scaled.mean(axis=0, keepdims=True), 3, axis=0)
    return colour.transpose(1, 2, 0)


def _mosaic(tiles: Sequence[Sequence[Floats]], gap: int) -> Floats:
    """Rows of tiles (h, w, ...) of one shape as one picture, with NaN between them."""
    height, width = tiles[0][0].shape[:2]
    down, across = height + gap, width + gap
    size = (len(tiles) * down - gap, len(tiles[0]) * across - gap)
    joined: Floats = np.full((*size, *tiles[0][0].shape[2:]), np.nan, np.float32)
    for i, line in enumerate(tiles):
        for j, tile in enumerate(line):
            joined[i * down : i * down + height, j * across : j * across + width] = tile
    return joined


def _axes(unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.2, 2.7), layout="constrained")
    with _lettering():
        axes = figure.add_subplot()
        axes.set_xlabel("layer")
        axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _dots(axes: Axes, layers: Sequence[Any]) -> None:
    for number, heads in enumerate(layers):
        dots = axes.plot([number] * len(heads), heads.tolist(), "o", color=DOT, alpha=0.6, markersize=4.5, zorder=3)
        dots[0].set_label("_" if number else "a head")
    means = [float(heads.mean()) for heads in layers]
    axes.plot(range(len(layers)), means, color=MEAN, linewidth=1.4, label="their mean", zorder=2)


def _legend(axes: Axes) -> None:
    with _lettering():
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3, columnspacing=1.0, handletextpad=0.4, frameon=False,
            borderaxespad=0.0,
        )  # fmt: skip


def _lettering() -> Any:
    from matplotlib import rc_context

    return rc_context({"font.family": typeface.families(), "font.size": 8.5})
