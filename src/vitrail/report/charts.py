"""Kinds of charts, drawn with matplotlib's object interface: no pyplot, no global figure.

Colours are Okabe and Ito's, told apart by the colour-blind, and lines differ in dash as well. `plots` gives the style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vitrail.explain import typeface
from vitrail.report.statistics import Counts, Doubles, Reliability

INK, MUTED, LINE = "#1c2331", "#5b6473", "#dde1e7"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d01")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (6, 1.5, 1.4, 1.5)), (0, (2.5, 1)))

MOST_CLASSES = 50
"""A confusion matrix of more classes cannot be read; the page lists the worst pairs instead."""

MOST_POINTS = 1500
"""More points would hide each other, and make the page heavy: their density is drawn."""
CELLS = 44
"""Cells of a density, across and down."""

Figures = dict[str, Figure]
"""File name without suffix -> figure."""


@dataclass(frozen=True)
class Curve:
    """Metrics over the epochs in one chart. name: of its file.  alternative: what a screen reader says.

    columns: metric -> its name in the legend.  share: fractions, from 0 to 100 %.  label: the axis's.
    """

    name: str
    alternative: str
    columns: Mapping[str, str]
    share: bool = True
    label: str = "val images"


def number(value: Any) -> float | None:
    """A value of results.csv as a finite float; None for an empty cell, text or NaN."""
    try:
        read = float(value)
    except (TypeError, ValueError):
        return None
    return read if np.isfinite(read) else None


# ------------------------------------------------------------------------------------------------- over the epochs


def loss(history: Sequence[Mapping[str, Any]], best: float | None) -> Figure:
    """Loss on train and val; it may fall below 0 where it is a likelihood."""
    figure, axes = _over_epochs(history, {"train/loss": "train", "val/loss": "val"}, best)
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    return figure


def metrics(history: Sequence[Mapping[str, Any]], best: float | None, curve: Curve) -> Figure | None:
    """One chart of a section's; None where the history has none of its metrics."""
    names = {f"val/{metric}": name for metric, name in curve.columns.items()}
    if all(number(row.get(column)) is None for row in history for column in names):
        return None
    figure, axes = _over_epochs(history, names, best)
    axes.set_ylabel(curve.label)
    if curve.share:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    return figure


def rate(history: Sequence[Mapping[str, Any]]) -> Figure:
    """The learning rate."""
    figure, axes = _over_epochs(history, {"lr": "learning rate"}, None)
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure


def _over_epochs(
    history: Sequence[Mapping[str, Any]], columns: Mapping[str, str], best: float | None
) -> tuple[Figure, Axes]:
    """Columns of results.csv against the epoch; empty cells and what is not finite are left out."""
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    epochs = [number(row.get("epoch")) for row in history]
    shown = 0
    for column, name in columns.items():
        values = [number(row.get(column)) for row in history]
        points = [(e, v) for e, v in zip(epochs, values, strict=True) if e is not None and v is not None]
        if points:
            style = {"color": SERIES[shown % len(SERIES)], "linestyle": DASHES[shown % len(DASHES)], "label": name}
            axes.plot(*zip(*points, strict=True), marker="o" if len(points) < 4 else None, markersize=3.5, **style)
            shown += 1
    if best is not None:
        axes.axvline(best, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="kept")
        shown += 1
    if len(epochs) == 1 and epochs[0] is not None:
        axes.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    if shown > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3, columnspacing=1.0, handletextpad=0.4)
    return figure, axes


def reliability(bins: Reliability) -> Figure:
    """How often the model is right at each level of confidence, over how many images claim that level."""
    figure = Figure(layout="constrained", figsize=(4.2, 3.6))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    left, width = bins.edges[:-1], np.diff(bins.edges)
    there = bins.count > 0
    upper.bar(left[there], bins.accuracy[there], width[there], align="edge", color=SERIES[0], alpha=0.85, label="right")
    gap = bins.confidence[there] - bins.accuracy[there]
    upper.bar(
        left[there], gap, width[there], bottom=bins.accuracy[there], align="edge", facecolor="none",
        edgecolor=SERIES[1], hatch="////", linewidth=0.8, label="gap to what it claims",
    )  # fmt: skip
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="calibrated")
    upper.set_ylim(0, 1)
    upper.set_ylabel("right")
    upper.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3, columnspacing=1.0, handletextpad=0.4)
    lower.bar(left, bins.count, width, align="edge", color=MUTED, alpha=0.6)
    lower.set_ylabel("images")
    lower.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    lower.set_xlim(0, 1)
    lower.set_xlabel("confidence")
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def confusion(matrix: Counts, labels: Sequence[str], split: str, what: str = "images") -> Figure:
    """Rows are true classes and sum to 100 %; columns are the model's answers. Images are counted, else in percent."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    written = matrix if what == "images" else np.rint(100 * share).astype(np.int64)
    return _shaded(share, written, labels, "said", f"true ({split} {what})")


def together(matrix: Counts, labels: Sequence[str], split: str) -> Figure:
    """Of the images that have the label of the row, how many also have that of the column."""
    share = matrix / np.maximum(np.diag(matrix)[:, None], 1)
    return _shaded(share, matrix, labels, "also have", f"{split} images that have")


def _shaded(share: Doubles, written: Counts, labels: Sequence[str], across: str, down: str) -> Figure:
    many = len(labels)
    side = min(9.0, max(3.4, 0.26 * many + 1.9))
    figure = Figure(layout="constrained", figsize=(side, side))
    axes = figure.add_subplot()
    axes.imshow(share, cmap=LinearSegmentedColormap.from_list("counts", ["#ffffff", SERIES[0]]), vmin=0, vmax=1)
    names = [typeface.drawable(label) for label in labels]
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    size = max(4.0, min(9.0, 200 / many))
    text: dict[str, Any] = {"fontsize": size, "family": typeface.families(names), "parse_math": False}
    axes.set_xticks(range(many), names, rotation=90, **text)
    axes.set_yticks(range(many), names, **text)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    if many <= 24:
        for (row, column), count in np.ndenumerate(written):
            if count:
                colour = "white" if share[row, column] > 0.55 else INK
                axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size * 0.9)
    return figure


# ---------------------------------------------------------------------------------------------- numbers against truth


def against_truth(true: Doubles, said: Doubles, unit: str, what: str) -> Figure:
    """What was said against what is true, with the diagonal of right answers. what: each point, in words."""
    figure = Figure(layout="constrained", figsize=(3.6, 3.4))
    axes = figure.add_subplot()
    low, high = float(min(true.min(), said.min())), float(max(true.max(), said.max()))
    margin = 0.04 * (high - low) or 0.5
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="said = true")
    _points(axes, true, said, (ends, ends), what)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    _named(axes, f"true{_in(unit)}", f"said{_in(unit)}")
    return figure


def residuals(true: Doubles, said: Doubles, unit: str, what: str) -> Figure:
    """How far the answers are off, over what is true: a slope is a pull to the middle, a funnel a spread that grows."""
    figure = Figure(layout="constrained", figsize=(3.6, 3.4))
    axes = figure.add_subplot()
    off = said - true
    reach = 1.06 * float(np.abs(off).max()) or 0.5
    low, high = float(true.min()), float(true.max())
    margin = 0.04 * (high - low) or 0.5
    axes.axhline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    _points(axes, true, off, ((low - margin, high + margin), (-reach, reach)), what)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(-reach, reach)
    _named(axes, f"true{_in(unit)}", f"said - true{_in(unit)}")
    return figure


def histogram(off: Doubles, unit: str, what: str) -> Figure:
    """How often the answers are off by how much."""
    figure = Figure(layout="constrained", figsize=(3.6, 3.4))
    axes = figure.add_subplot()
    bins = int(np.clip(np.sqrt(len(off)), 7, 31)) | 1
    reach = float(np.abs(off).max()) or 0.5
    axes.hist(off, bins=bins, range=(-reach, reach), color=SERIES[0], alpha=0.85)
    axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    mean = float(off.mean())
    axes.axvline(mean, color=SERIES[1], linewidth=1.4, label="mean")
    _named(axes, f"said - true{_in(unit)}", what)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), handletextpad=0.4)
    return figure


def _points(
    axes: Axes, x: Doubles, y: Doubles, ends: tuple[tuple[float, float], tuple[float, float]], what: str
) -> None:
    """Dots, or of many the density of them: the stronger a cell, the more are in it, by the root of their number."""
    axes.grid(visible=True, axis="both")
    if len(x) <= MOST_POINTS:
        faint = float(np.clip(60 / max(1, len(x)), 0.25, 0.8))
        axes.scatter(x, y, s=11, color=SERIES[0], alpha=faint, linewidths=0, label=f"one of the {what}")
    else:
        counts, across, down = np.histogram2d(x, y, bins=CELLS, range=ends)
        column, row = np.nonzero(counts)
        corners = [
            [(across[i], down[j]), (across[i + 1], down[j]), (across[i + 1], down[j + 1]), (across[i], down[j + 1])]
            for i, j in zip(column, row, strict=True)
        ]
        strength = np.round(0.08 + 0.92 * np.sqrt(counts[column, row] / counts.max()), 2)
        colours = [to_rgba(SERIES[0], float(alpha)) for alpha in strength]
        axes.add_collection(PolyCollection(corners, facecolors=colours, linewidths=0, label=f"density of the {what}"))
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2, columnspacing=1.0, handletextpad=0.4, scatterpoints=1
    )


def _named(axes: Axes, across: str, down: str) -> None:
    for text, put in ((across, axes.set_xlabel), (down, axes.set_ylabel)):
        drawable = typeface.drawable(text)
        put(drawable, family=typeface.families([drawable]), parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
