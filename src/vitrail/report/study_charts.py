"""The kinds of charts of a study, from plain arrays: no statistic is computed here.

A series has the same colour, dash and mark in every chart that is given the same `order`. What was not measured is None
or NaN and is left out of its chart, not drawn as 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitrail.report.charts import DASHES, INK, LINE, MUTED, SERIES
from vitrail.report.statistics import Doubles
from vitrail.report.study_axes import (
    LONG,
    WIDTH,
    horizontal,
    legend,
    lettering,
    linear,
    logarithmic,
    look_of,
    panels_of,
    positive,
    short,
    single,
    titled,
    vertical,
)
from vitrail.report.study_axes import (
    Span as Span,
)


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
    above = max((len(short(name)) for name in names), default=0) > LONG
    with lettering([*names, marked]):
        figure, axes = single((WIDTH, 0.9 + (0.4 if above else 0.32) * max(2, len(names))))
        for row, (name, span) in enumerate(spans.items()):
            known = span is not None and math.isfinite(span[0])
            if known and span is not None:
                horizontal(axes, row, span)
            if above:
                words = short(name, 60) if known else f"{short(name, 60)}: not known"
                axes.text(0, row - 0.28, words, transform=axes.get_yaxis_transform(), va="bottom", color=INK)
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1, label=marked or "_")
        axes.set_yticks(range(len(names)), [""] * len(names) if above else [short(name) for name in names], color=INK)
        axes.set_ylim(len(names) - 0.5, -0.8 if above else -0.5)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=above, axis="y")
        axes.set_xlabel(label)
        linear(axes.xaxis, share)
        if marked:
            legend(figure, axes)
    return figure


def pareto(
    costs: Mapping[str, float | None], scores: Mapping[str, Span | None], frontier: Collection[str], cost: str,
    score: str, share: bool = True, chosen: str | None = None, order: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Score with its interval over cost, the cost in steps of ten; models that no other beats in both are joined.

    cost, score: names of the axes.  chosen: the model that is recommended, with a ring.
    """
    there = [name for name in scores if scores[name] is not None and positive(costs.get(name))]
    with lettering(there):
        figure, axes = single((WIDTH, 3.0))
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
            look = look_of(name, order or list(scores))
            vertical(axes, x, span, look, name)
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
        logarithmic(axes, "x", [x for x, _ in at.values()])
        axes.set_xlabel(cost)
        axes.set_ylabel(score)
        linear(axes.yaxis, share)
        legend(figure, axes)
    return figure


def curves(
    series: Mapping[str, Curve], x: str, y: str, share: bool = False, order: Sequence[str] = (),
    until: float | None = None,
) -> Figure:  # fmt: skip
    """Figures with intervals over sizes in steps of ten, each series with its fitted law and that law's interval.

    until: the largest size that was measured; what stands beyond it is a prediction, and shaded.
    """
    with lettering(series):
        figure, axes = single((WIDTH, 3.1))
        sizes: list[float] = []
        for name, curve in series.items():
            look = look_of(name, order or list(series))
            known = np.isfinite(curve.low) & np.isfinite(curve.high) if len(curve.low) else np.empty(0, bool)
            if known.any():
                axes.fill_between(
                    curve.x, curve.low, curve.high, where=known, color=look.colour, alpha=0.13, linewidth=0
                )
            for place, (size, span) in enumerate(curve.points):
                vertical(axes, size, span, look, "" if place else name)
            if len(curve.x):
                axes.plot(curve.x, curve.line, color=look.colour, linestyle=look.dash, linewidth=1.3)
            sizes += [size for size, _ in curve.points] + [float(size) for size in curve.x]
        logarithmic(axes, "x", sizes)
        if until is not None and sizes and max(sizes) > until:
            axes.axvspan(until, axes.get_xlim()[1], color=LINE, alpha=0.45, linewidth=0, zorder=0, label="predicted")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        linear(axes.yaxis, share)
        legend(figure, axes)
    return figure


def power(
    series: Mapping[str, Growth], x: str, y: str, order: Sequence[str] = (),
    crossings: Sequence[tuple[float, str]] = (),
) -> Figure:  # fmt: skip
    """Costs over sizes, both in steps of ten, where growth by a power is a straight line; exponents in the legend.

    crossings: (size, what crosses there), drawn as vertical lines.
    """
    with lettering(series):
        figure, axes = single((WIDTH, 3.3))
        axes.grid(visible=True, axis="both")
        every: list[tuple[float, float]] = []
        for name, growth in series.items():
            look = look_of(name, order or list(series))
            points = [(size, cost) for size, cost in growth.points if positive(size) and positive(cost)]
            if not points:
                continue
            every += points
            sizes, costs = (np.array(column) for column in zip(*points, strict=True))
            axes.plot(
                sizes, costs, look.marker, color=look.colour, markersize=4.5, label=short(name) + _exponent(growth)
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
        logarithmic(axes, "x", [size for size, _ in every])
        logarithmic(axes, "y", [cost for _, cost in every])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        legend(figure, axes)
    return figure


def iso(budgets: Mapping[str, Budget], size: str, loss: str, share: bool = False) -> Figure:
    """Loss over the size of a model, one line for each budget, and a star where each is lowest."""
    with lettering(budgets):
        figure, axes = single((WIDTH, 3.1))
        sizes: list[float] = []
        found = False
        for name, budget in budgets.items():
            look = look_of(name, list(budgets))
            there = [(x, span) for x, span in budget.points if positive(x) and math.isfinite(span[0])]
            axes.plot(
                [x for x, _ in there],
                [span[0] for _, span in there],
                color=look.colour,
                linestyle=look.dash,
                linewidth=1.2,
            )
            for place, (x, span) in enumerate(there):
                vertical(axes, x, span, look, "" if place else name)
            sizes += [x for x, _ in there]
            if budget.best is not None and positive(budget.best[0]) and math.isfinite(budget.best[1]):
                axes.plot(
                    *([value] for value in budget.best), "*", color=look.colour, markeredgecolor=INK, markersize=11,
                    markeredgewidth=0.7, zorder=5, label="_" if found else "lowest, as fitted",
                )  # fmt: skip
                sizes.append(budget.best[0])
                found = True
        logarithmic(axes, "x", sizes)
        axes.set_xlabel(size)
        axes.set_ylabel(loss)
        linear(axes.yaxis, share)
        legend(figure, axes)
    return figure


def heads(models: Mapping[str, Sequence[Sequence[float]]], size: int, even: float | None = None) -> Figure:
    """How far each head looks, by depth, a panel for each model: dots are heads, the line is their mean.

    models: for each layer the mean attention distance of its heads, pixels.  size: of the images, pixels a side.
    even: how far attention spread evenly over the image would look.
    """
    with lettering(models):
        figure, panels = panels_of(len(models), 2.3)
        top = max(
            [even or 0.0, 1.0, *(float(np.max(layer)) for layers in models.values() for layer in layers if len(layer))]
        )
        for axes, (name, layers) in zip(panels, models.items(), strict=False):
            titled(axes, name)
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
        legend(figure, panels[0], WIDTH * 2 if len(models) > 1 else WIDTH)
    return figure


def field(fields: Mapping[str, Doubles], across: int = 3) -> Figure:
    """Effective receptive fields (H, W), >= 0, each on a scale of its own: the brighter a pixel, the more it counts.

    across: pictures in a row, as 2 for each model untrained and trained.
    """
    with lettering(fields):
        figure, panels = panels_of(len(fields), 2.1, across, bare=True)
        for axes, (name, values) in zip(panels, fields.items(), strict=False):
            titled(axes, name)
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
    with lettering([*names, *kinds]):
        figure, panels = panels_of(len(kinds), 2.1)
        for axes, (kind, models) in zip(panels, kinds.items(), strict=False):
            titled(axes, kind)
            shown = [name for name in names if name in models]
            levels = max((len(models[name]) for name in shown), default=0)
            width = 0.82 / max(1, len(shown))
            for place, name in enumerate(shown):
                look = look_of(name, names)
                values = [math.nan if value is None else float(value) for value in models[name]]
                left = np.arange(len(values)) - 0.41 + place * width
                axes.bar(
                    left, values, width * 0.9, align="edge", color=look.colour, hatch=look.hatch, label=short(name)
                )
            axes.set_xticks(range(levels), ["as is", *(str(level) for level in range(1, levels))])
            axes.set_xlim(-0.6, max(levels, 1) - 0.4)
            linear(axes.yaxis, share, 4)
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        panels[0].set_ylabel(score)
        legend(figure, panels[0], WIDTH * 2 if len(kinds) > 1 else WIDTH)
    return figure


def _exponent(growth: Growth) -> str:
    if growth.exponent is None:
        return ""
    value, low, high = growth.exponent
    known = f" ({low:.2f} to {high:.2f})" if math.isfinite(low) and math.isfinite(high) else ""
    return f": {value:.2f}{known}"
