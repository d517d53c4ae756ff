"""The figures of a run: one definition each, drawn as PNG for `figures/` and as SVG that takes the page's colours.

Matplotlib's object interface only: no pyplot, no global figure. Colours are Okabe and Ito's, told apart by the
colour-blind, and lines differ in dash as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vitrail import durable
from vitrail.explain import typeface
from vitrail.report.data import ReportData
from vitrail.report.statistics import Counts, Reliability
from vitrail.report.summary import number

INK, MUTED, LINE = "#1c2331", "#5b6473", "#dde1e7"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d01")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (6, 1.5, 1.4, 1.5)), (0, (2.5, 1)))
CSS = {INK: "ink", MUTED: "muted", LINE: "line"} | {colour: f"series-{n}" for n, colour in enumerate(SERIES, 1)}
"""Drawn colour -> the page's variable that takes its place in SVG, so a figure follows light and dark."""

MOST_CLASSES = 50
"""A confusion matrix of more classes cannot be read; the page lists the worst pairs instead."""

METRICS = {"accuracy": "accuracy", "accuracy_top5": "top-5", "f1_macro": "macro F1", "auroc": "AUROC", "ece": "ECE"}
"""Metrics that are fractions -> their names in figures."""

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 8.5, "text.color": INK, "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE, "axes.linewidth": 0.8, "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "grid.color": LINE, "grid.linewidth": 0.8, "xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED, "ytick.major.size": 0, "xtick.major.size": 3, "lines.linewidth": 1.7,
    "legend.frameon": False, "legend.handlelength": 1.7, "legend.borderaxespad": 0.0, "figure.figsize": (3.6, 2.6),
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "auto", "svg.fonttype": "none",
    "axes.formatter.useoffset": False, "axes.unicode_minus": True,
}  # fmt: skip


@contextmanager
def _style(name: str) -> Iterator[None]:
    """Our settings over matplotlib's defaults, whatever the user's matplotlibrc says; restored on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        yield


Figures = dict[str, Figure]
"""File name without suffix -> figure."""


def draw(data: ReportData) -> Figures:
    """Every figure that the data allows."""
    figures: Figures = {}
    with _style("figures"):
        if data.history:
            figures["loss"] = _loss(data.history, data.best_epoch)
            figures["metrics"] = _metrics(data.history, data.best_epoch)
            figures["learning_rate"] = _rate(data.history)
        if data.subject and data.evaluations[data.subject].images:
            view = data.evaluations[data.subject]
            figures["reliability"] = _reliability(view.reliability)
            if len(data.labels) <= MOST_CLASSES:
                figures["confusion"] = _confusion(view.confusion, data.labels, data.subject)
    return figures


def write_figures(folder: Path, figures: Figures) -> list[Path]:
    """Write each figure as NAME.png into `folder`, which is made; returns the paths.

    Raises TrainingError in words where the disk refuses.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            path = folder / f"{name}.png"
            durable.write_file(path, to_png(figure))
            paths.append(path)
    except OSError as error:
        raise durable.storage_error(error, f"cannot write figures to {folder}") from None
    return paths


def to_png(figure: Figure) -> bytes:
    """The figure on white, 200 dots per inch; equal figures give equal bytes."""
    raw = io.BytesIO()
    with _style("png"):
        figure.savefig(raw, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return raw.getvalue()


def to_svg(figure: Figure, name: str, alternative: str) -> Markup:
    """The figure as inline SVG: text stays text in the page's font, colours become the page's variables.

    name: keeps the ids of several figures on one page apart.  alternative: what a screen reader says.
    """
    raw = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _style(name):
        figure.savefig(raw, format="svg", facecolor="none", metadata=nothing)
    svg = raw.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"#[0-9a-f]{6}", lambda hit: f"var(--{CSS[hit[0]]})" if hit[0] in CSS else hit[0], svg)
    svg = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg)
    return Markup(svg.replace('role="img">', f'role="img" aria-label="{escape(alternative)}">', 1))


# ------------------------------------------------------------------------------------------------------ the figures


def _loss(history: Sequence[Mapping[str, Any]], best: int | None) -> Figure:
    figure, axes = _over_epochs(history, {"train/loss": "train", "val/loss": "val"}, best)
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    return figure


def _metrics(history: Sequence[Mapping[str, Any]], best: int | None) -> Figure:
    names = {f"val/{metric}": name for metric, name in METRICS.items()}
    figure, axes = _over_epochs(history, names, best)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("val images")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def _rate(history: Sequence[Mapping[str, Any]]) -> Figure:
    figure, axes = _over_epochs(history, {"lr": "learning rate"}, None)
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure


def _over_epochs(
    history: Sequence[Mapping[str, Any]], columns: Mapping[str, str], best: int | None
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


def _reliability(bins: Reliability) -> Figure:
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


def _confusion(matrix: Counts, labels: Sequence[str], split: str) -> Figure:
    """Rows are true classes and sum to 100 %; columns are the model's answers."""
    many = len(labels)
    side = min(9.0, max(3.4, 0.26 * many + 1.9))
    figure = Figure(layout="constrained", figsize=(side, side))
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap=LinearSegmentedColormap.from_list("counts", ["#ffffff", SERIES[0]]), vmin=0, vmax=1)
    names = [typeface.drawable(label) for label in labels]
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    size = max(4.0, min(9.0, 200 / many))
    text: dict[str, Any] = {"fontsize": size, "family": typeface.families(names), "parse_math": False}
    axes.set_xticks(range(many), names, rotation=90, **text)
    axes.set_yticks(range(many), names, **text)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_xlabel("said")
    axes.set_ylabel(f"true ({split} images)")
    if many <= 24:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if share[row, column] > 0.55 else INK
                axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size * 0.9)
    return figure
