"""The kinds of charts of a study, from plain arrays: no statistic is computed here.

A series has the same colour, dash and mark in every chart that is given the same `order`. What was not measured is None
or NaN and is left out of its chart, not drawn as 0.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vitrail.explain import typeface
from vitrail.report.charts import DASHES, INK, LINE, MUTED, SERIES
from vitrail.report.plots import style
from vitrail.report.statistics import Doubles

Span = tuple[float, float, float]
"""A figure, and the low and the high end of its interval; ends that are not known are NaN."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 4.2
"""Inches of a chart that stands beside another on the page and is still read on a phone."""
LONG = 18
"""Letters up to which a name stands beside its line; longer ones stand over it."""
LETTERS = 52
"""Letters of a legend that fit its line."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One series of `curves`. points: (x, figure with its interval).  x, line, low, high (L,): the law and its band.

    The last four are empty where nothing was fitted.
    """

    points: Sequence[tuple[float, Span]]
    x: Doubles = dataclasses.field(default_factory=lambda: np.empty(0))
    line: Doubles = dataclasses.field(default_factory=lambda: np.empty(0))
    low: Doubles = dataclasses.field(default_factory=lambda: np.empty(0))
    high: Doubles = dataclasses.field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Growth:
    """One series of `power`. points: (x, cost).  factor, exponent: of factor x ^ exponent, None where not fitted."""

    points: Sequence[tuple[float, float]]
    factor: float | None = None
    exponent: Span | None = None


@dataclass(frozen=True)
class Budget:
    """One line of `iso`. points: (size, loss with its interval).  best: the size and the loss where it is lowest."""

    points: Sequence[tuple[float, Span]]
    best: tuple[float, float] | None = None


def intervals(
    spans: Mapping[str, Span | None], label: str, share: bool = False, mark: float | None = None, marked: str = ""
) -> Figure:
    """One line a name, from above: a figure and its interval.

    share: fractions, written in percent.  mark: where a vertical line stands, as 0 of a difference, and what it is.
    """
    names = list(spans)
    above = max((len(_short(name)) for name in names), default=0) > LONG
    with _lettering([*names, marked]):
        figure, axes = _axes((WIDTH, 0.9 + (0.4 if above else 0.32) * max(2, len(names))))
        for row, (name, span) in enumerate(spans.items()):
            known = span is not None and math.isfinite(span[0])
            if known and span is not None:
                _horizontal(axes, row, span)
            if above:
                words = _short(name, 60) if known else f"{_short(name, 60)}: not known"
                axes.text(0, row - 0.28, words, transform=axes.get_yaxis_transform(), va="bottom", color=INK)
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1, label=marked or "_")
        axes.set_yticks(range(len(names)), [""] * len(names) if above else [_short(name) for name in names], color=INK)
        axes.set_ylim(len(names) - 0.5, -0.8 if above else -0.5)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=above, axis="y")
        axes.set_xlabel(label)
        _linear(axes.xaxis, share)
        if marked:
            _legend(figure, axes)
    return figure


def pareto(
    costs: Mapping[str, float | None], scores: Mapping[str, Span | None], frontier: Collection[str], cost: str,
    score: str, share: bool = True, chosen: str | None = None, order: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Score with its interval over cost, the cost in steps of ten; models that no other beats in both are joined.

    cost, score: names of the axes.  chosen: the model that is recommended, with a ring.
    """
    there = [name for name in scores if scores[name] is not None and _positive(costs.get(name))]
    with _lettering(there):
        figure, axes = _axes((WIDTH, 3.0))
        axes.grid(visible=True, axis="both")
        at = {name: (float(costs[name] or 0), scores[name] or (math.nan,) * 3) for name in there}
        line = sorted((at[name][0], at[name][1][0]) for name in at if name in frontier)
        if len(line) > 1:
            axes.plot(
                *zip(*line, strict=True),
                color=MUTED,
                linewidth=1.0,
                linestyle=(0, (2, 2)),
                label="none better and cheaper",
            )
        for name, (x, span) in at.items():
            look = _look(name, order or list(scores))
            _vertical(axes, x, span, look, name)
            if name == chosen:
                axes.plot(
                    [x],
                    [span[0]],
                    "o",
                    markersize=13,
                    markerfacecolor="none",
                    markeredgecolor=INK,
                    markeredgewidth=1.1,
                    label="recommended",
                )
        _logarithmic(axes, "x", [x for x, _ in at.values()])
        axes.set_xlabel(cost)
        axes.set_ylabel(score)
        _linear(axes.yaxis, share)
        _legend(figure, axes)
    return figure


def curves(
    series: Mapping[str, Curve], x: str, y: str, share: bool = False, order: Sequence[str] = (),
    until: float | None = None,
) -> Figure:  # fmt: skip
    """Figures with intervals over sizes in steps of ten, each series with its fitted law and that law's interval.

    until: the largest size that was measured; what stands beyond it is a prediction, and shaded.
    """
    with _lettering(series):
        figure, axes = _axes((WIDTH, 3.1))
        sizes: list[float] = []
        for name, curve in series.items():
            look = _look(name, order or list(series))
            known = np.isfinite(curve.low) & np.isfinite(curve.high) if len(curve.low) else np.empty(0, bool)
            if known.any():
                axes.fill_between(
                    curve.x, curve.low, curve.high, where=known, color=look.colour, alpha=0.13, linewidth=0
                )
            for place, (size, span) in enumerate(curve.points):
                _vertical(axes, size, span, look, "" if place else name)
            if len(curve.x):
                axes.plot(curve.x, curve.line, color=look.colour, linestyle=look.dash, linewidth=1.3)
            sizes += [size for size, _ in curve.points] + [float(size) for size in curve.x]
        _logarithmic(axes, "x", sizes)
        if until is not None and sizes and max(sizes) > until:
            axes.axvspan(until, axes.get_xlim()[1], color=LINE, alpha=0.45, linewidth=0, zorder=0, label="predicted")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        _linear(axes.yaxis, share)
        _legend(figure, axes)
    return figure


def power(
    series: Mapping[str, Growth], x: str, y: str, order: Sequence[str] = (),
    crossings: Sequence[tuple[float, str]] = (),
) -> Figure:  # fmt: skip
    """Costs over sizes, both in steps of ten, where growth by a power is a straight line; exponents in the legend.

    crossings: (size, what crosses there), drawn as vertical lines.
    """
    with _lettering(series):
        figure, axes = _axes((WIDTH, 3.3))
        axes.grid(visible=True, axis="both")
        every: list[tuple[float, float]] = []
        for name, growth in series.items():
            look = _look(name, order or list(series))
            points = [(size, cost) for size, cost in growth.points if _positive(size) and _positive(cost)]
            if not points:
                continue
            every += points
            sizes, costs = (np.array(column) for column in zip(*points, strict=True))
            axes.plot(
                sizes, costs, look.marker, color=look.colour, markersize=4.5, label=_short(name) + _exponent(growth)
            )
            if growth.factor is not None and growth.exponent is not None:
                ends = np.array([sizes.min(), sizes.max()])
                axes.plot(
                    ends,
                    growth.factor * ends ** growth.exponent[0],
                    color=look.colour,
                    linestyle=look.dash,
                    linewidth=1.2,
                )
        for place, (size, words) in enumerate(crossings):
            axes.axvline(size, color=MUTED, linewidth=0.9, linestyle=DASHES[1 + place % 4], label=words)
        _logarithmic(axes, "x", [size for size, _ in every])
        _logarithmic(axes, "y", [cost for _, cost in every])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        _legend(figure, axes)
    return figure


def iso(budgets: Mapping[str, Budget], size: str, loss: str, share: bool = False) -> Figure:
    """Loss over the size of a model, one line for each budget, and a star where each is lowest."""
    with _lettering(budgets):
        figure, axes = _axes((WIDTH, 3.1))
        sizes: list[float] = []
        found = False
        for name, budget in budgets.items():
            look = _look(name, list(budgets))
            there = [(x, span) for x, span in budget.points if _positive(x) and math.isfinite(span[0])]
            axes.plot(
                [x for x, _ in there],
                [span[0] for _, span in there],
                color=look.colour,
                linestyle=look.dash,
                linewidth=1.2,
            )
            for place, (x, span) in enumerate(there):
                _vertical(axes, x, span, look, "" if place else name)
            sizes += [x for x, _ in there]
            if budget.best is not None and _positive(budget.best[0]) and math.isfinite(budget.best[1]):
                axes.plot(
                    *([value] for value in budget.best), "*", color=look.colour, markeredgecolor=INK, markersize=11,
                    markeredgewidth=0.7, zorder=5, label="_" if found else "lowest, as fitted",
                )  # fmt: skip
                sizes.append(budget.best[0])
                found = True
        _logarithmic(axes, "x", sizes)
        axes.set_xlabel(size)
        axes.set_ylabel(loss)
        _linear(axes.yaxis, share)
        _legend(figure, axes)
    return figure


def heads(models: Mapping[str, Sequence[Sequence[float]]], size: int, even: float | None = None) -> Figure:
    """How far each head looks, by depth, a panel for each model: dots are heads, the line is their mean.

    models: for each layer the mean attention distance of its heads, pixels.  size: of the images, pixels a side.
    even: how far attention spread evenly over the image would look.
    """
    with _lettering(models):
        figure, panels = _panels(len(models), 2.3)
        top = max(
            [even or 0.0, 1.0, *(float(np.max(layer)) for layers in models.values() for layer in layers if len(layer))]
        )
        for axes, (name, layers) in zip(panels, models.items(), strict=False):
            _titled(axes, name)
            for depth, layer in enumerate(layers):
                axes.plot(
                    [depth + 1] * len(layer),
                    layer,
                    "o",
                    color=SERIES[0],
                    alpha=0.6,
                    markersize=4,
                    label="_" if depth else "a head",
                )
            means = [float(np.mean(layer)) if len(layer) else math.nan for layer in layers]
            axes.plot(range(1, len(means) + 1), means, color=SERIES[1], linewidth=1.4, label="their mean")
            if even is not None:
                axes.axhline(even, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="spread evenly")
            axes.set_ylim(0, top * 1.08)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
            axes.set_xlabel("layer")
        panels[0].set_ylabel(f"pixels, in images of {size} px")
        _legend(figure, panels[0], WIDTH * 2 if len(models) > 1 else WIDTH)
    return figure


def field(fields: Mapping[str, Doubles], across: int = 3) -> Figure:
    """Effective receptive fields (H, W), >= 0, each on a scale of its own: the brighter a pixel, the more it counts.

    across: pictures in a row, as 2 for each model untrained and trained.
    """
    with _lettering(fields):
        figure, panels = _panels(len(fields), 2.1, across, bare=True)
        for axes, (name, values) in zip(panels, fields.items(), strict=False):
            _titled(axes, name)
            top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
            axes.imshow(values / (top or 1.0), cmap="cividis", vmin=0, vmax=1, interpolation="none")
            axes.set_axis_off()
            axes.set_anchor("W")
    return figure


def bars_by_level(
    kinds: Mapping[str, Mapping[str, Sequence[float | None]]], score: str, share: bool = True, order: Sequence[str] = ()
) -> Figure:
    """A panel for each kind of change, a bar for each model and level; level 0 is the image as it is.

    kinds: kind -> model -> the score at each level, None where it was not measured.
    """
    names = list(order) or list(dict.fromkeys(name for models in kinds.values() for name in models))
    with _lettering([*names, *kinds]):
        figure, panels = _panels(len(kinds), 2.1)
        for axes, (kind, models) in zip(panels, kinds.items(), strict=False):
            _titled(axes, kind)
            shown = [name for name in names if name in models]
            levels = max((len(models[name]) for name in shown), default=0)
            width = 0.82 / max(1, len(shown))
            for place, name in enumerate(shown):
                look = _look(name, names)
                values = [math.nan if value is None else float(value) for value in models[name]]
                left = np.arange(len(values)) - 0.41 + place * width
                axes.bar(
                    left, values, width * 0.9, align="edge", color=look.colour, hatch=look.hatch, label=_short(name)
                )
            axes.set_xticks(range(levels), ["as is", *(str(level) for level in range(1, levels))])
            axes.set_xlim(-0.6, max(levels, 1) - 0.4)
            _linear(axes.yaxis, share, 4)
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        panels[0].set_ylabel(score)
        _legend(figure, panels[0], WIDTH * 2 if len(kinds) > 1 else WIDTH)
    return figure


# ------------------------------------------------------------------------------------------------ what they draw alike


@dataclass(frozen=True)
class _Look:
    colour: str
    dash: Any
    marker: str
    hatch: str


def _look(name: str, order: Sequence[str]) -> _Look:
    place = list(order).index(name) if name in order else len(order)
    turn = place // len(SERIES)
    return _Look(
        SERIES[place % len(SERIES)],
        DASHES[(place + turn) % len(DASHES)],
        MARKERS[place % len(MARKERS)],
        ("", "///", "...")[turn % 3],
    )


@contextmanager
def _lettering(names: Collection[str]) -> Iterator[None]:
    """The house's style, and fonts that draw the names as they are written: a dollar is no formula."""
    families = typeface.families([typeface.drawable(name) for name in names])
    with style("figures"), matplotlib.rc_context({"font.family": families, "text.parse_math": False}):
        yield


def _short(name: str, most: int = 40) -> str:
    drawable = typeface.drawable(name).lstrip("_") or "?"
    return drawable if len(drawable) <= most else f"{drawable[: most - 1]}…"


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _titled(axes: Axes, name: str) -> None:
    """The name over a panel, in two lines where it is long."""
    lines = textwrap.wrap(_short(name, 70), 37, max_lines=2, placeholder="…")
    axes.set_title("\n".join(lines), fontsize=8.5, color=INK, loc="left")


def _panels(count: int, height: float, across: int = 3, bare: bool = False) -> tuple[Figure, list[Axes]]:
    """Panels in rows of up to `across`, all on one scale."""
    across = min(across, max(1, count))
    down = math.ceil(max(1, count) / across)
    width = WIDTH if across == 1 else 2.75 * across
    figure = Figure(figsize=(width, height * down + (0.0 if bare else 0.5)), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=not bare)
    flat: list[Axes] = list(grid.ravel())
    for axes in flat[max(1, count) :]:
        axes.set_axis_off()
    return figure, flat[: max(1, count)]


def _vertical(axes: Axes, x: float, span: Span, look: _Look, name: str) -> None:
    value, low, high = span
    if not math.isfinite(value):
        return
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([x, x], [low, high], color=look.colour, linewidth=1.1, alpha=0.75)
    label = _short(name) if name else "_"
    axes.plot([x], [value], look.marker, color=look.colour, markersize=5, zorder=4, label=label)


def _horizontal(axes: Axes, row: int, span: Span) -> None:
    value, low, high = span
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [row, row], color=SERIES[0], linewidth=3.2, alpha=0.4, solid_capstyle="round")
    axes.plot([value], [row], "o", color=SERIES[0], markersize=5, zorder=4)


def _linear(axis: Any, share: bool, bins: int = 5) -> None:
    axis.set_major_locator(MaxNLocator(nbins=bins, steps=[1, 2, 2.5, 5, 10]))
    if share:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}%"))


def _logarithmic(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A scale in steps of ten over the values, its numbers written short: 0.5, 20, 2,000, 50k, 5M."""
    values = [value for value in values if _positive(value)]
    if not values:
        return
    low, high = min(values), max(values)
    room = 1.12 if high / low < 30 else 1.35
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low / room, high * room)
    axis = getattr(axes, f"{which}axis")
    subs = (1.0, 2.0, 5.0) if high / low < 40 else (1.0, 3.0) if high / low < 2000 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _written(value)))


def _written(value: float) -> str:
    if value >= 1e15 or value < 1e-4:
        return f"{value:.0e}".replace("e+", "e")
    for least, unit, word in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e5, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / unit:g}{word}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _exponent(growth: Growth) -> str:
    if growth.exponent is None:
        return ""
    value, low, high = growth.exponent
    known = f" ({low:.2f} to {high:.2f})" if math.isfinite(low) and math.isfinite(high) else ""
    return f": {value:.2f}{known}"


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _legend(figure: Figure, axes: Axes, width: float = WIDTH) -> None:
    """Above the charts, in as many columns as its names leave room for; the figure grows by its lines."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    handles = [_key(handle) for handle in handles]
    columns = max(1, min(len(labels), int(LETTERS * width / WIDTH / (max(map(len, labels)) + 5))))
    lines = math.ceil(len(labels) / columns)
    across, down = figure.get_size_inches()
    figure.set_size_inches(across, down + 0.17 * lines)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.2, handletextpad=0.5,
        labelspacing=0.35, borderpad=0.1,
    )  # fmt: skip


def _key(handle: Any) -> Any:
    """A mark as a legend has room for."""
    if not isinstance(handle, Line2D) or handle.get_markersize() <= 7:
        return handle
    small = Line2D([], [], linestyle="none", marker=handle.get_marker(), markersize=7)
    small.set_markerfacecolor(handle.get_markerfacecolor())
    small.set_markeredgecolor(handle.get_markeredgecolor())
    return small
