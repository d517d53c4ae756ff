"""What the charts of a study draw alike: how a series looks, scales whose numbers are short, legends that fit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vitrail.explain import typeface
from vitrail.report.charts import DASHES, INK, SERIES
from vitrail.report.plots import style

Span = tuple[float, float, float]
"""A figure, and the low and the high end of its interval; ends that are not known are NaN."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 4.2
"""Inches of a chart that stands beside another on the page and is still read on a phone."""
LONG = 18
"""Letters up to which a name stands beside its line; longer ones stand over it."""
MOST_NUMBERS = 7
"""Numbers that an axis has room for."""
LETTERS = 52
"""Letters of a legend that fit its line."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn: colour, dash of lines, mark of points, hatch of bars."""

    colour: str
    dash: Any
    marker: str
    hatch: str


def look_of(name: str, order: Sequence[str]) -> Look:
    """The look of a name by its place among all; no two of the first 35 look alike."""
    place = list(order).index(name) if name in order else len(order)
    turn = place // len(SERIES)
    return Look(
        SERIES[place % len(SERIES)],
        DASHES[(place + turn) % len(DASHES)],
        MARKERS[place % len(MARKERS)],
        ("", "///", "...")[turn % 3],
    )


@contextmanager
def lettering(names: Collection[str]) -> Iterator[None]:
    """The house's style, and fonts that draw the names as they are written: a dollar is no formula."""
    families = typeface.families([typeface.drawable(name) for name in names])
    with style("figures"), matplotlib.rc_context({"font.family": families, "text.parse_math": False}):
        yield


def short(name: str, most: int = 40) -> str:
    """A name as it can be drawn, cut where it is longer than `most`; matplotlib would hide one that begins with _."""
    drawable = typeface.drawable(name).lstrip("_") or "?"
    return drawable if len(drawable) <= most else f"{drawable[: most - 1]}…"


def single(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A chart of one panel, of (width, height) in inches."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def titled(axes: Axes, name: str) -> None:
    """The name over a panel, in two lines where it is long."""
    lines = textwrap.wrap(short(name, 70), 37, max_lines=2, placeholder="…")
    axes.set_title("\n".join(lines), fontsize=8.5, color=INK, loc="left")


def panels_of(count: int, height: float, across: int = 3, bare: bool = False) -> tuple[Figure, list[Axes]]:
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


def vertical(axes: Axes, x: float, span: Span, look: Look, name: str) -> None:
    """A point and its interval; named in the legend unless `name` is empty."""
    value, low, high = span
    if not math.isfinite(value):
        return
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([x, x], [low, high], color=look.colour, linewidth=1.1, alpha=0.75)
    label = short(name) if name else "_"
    axes.plot([x], [value], look.marker, color=look.colour, markersize=5, zorder=4, label=label)


def horizontal(axes: Axes, row: int, span: Span) -> None:
    """A point and its interval, in a row of names."""
    value, low, high = span
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [row, row], color=SERIES[0], linewidth=3.2, alpha=0.4, solid_capstyle="round")
    axes.plot([value], [row], "o", color=SERIES[0], markersize=5, zorder=4)


def linear(axis: Any, share: bool, bins: int = 5) -> None:
    """A scale in even steps. share: of fractions, written in percent."""
    axis.set_major_locator(MaxNLocator(nbins=bins, steps=[1, 2, 2.5, 5, 10]))
    if share:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}\N{NO-BREAK SPACE}%"))


def logarithmic(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A scale in steps of ten over the values, its numbers written short: 0.5, 20, 2,000, 50k, 5M."""
    values = [value for value in values if positive(value)]
    if not values:
        return
    low, high = min(values), max(values)
    room = 1.12 if high / low < 30 else 1.35
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low / room, high * room)
    axis = getattr(axes, f"{which}axis")
    if which == "x" and _apart(values):
        axis.set_major_locator(FixedLocator(sorted(set(values))))
    else:
        subs = (1.0, 2.0, 5.0) if high / low < 40 else (1.0, 3.0) if high / low < 2000 else (1.0,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))


def _apart(values: Sequence[float]) -> bool:
    """Whether the values themselves can be the numbers of the axis: few, whole, and none on another's toes."""
    logs = np.log(sorted(set(values)))
    if not 2 <= len(logs) <= MOST_NUMBERS or any(value != round(value) or value >= 1e4 for value in values):
        return False
    return bool(np.diff(logs).min() >= (logs[-1] - logs[0]) / (MOST_NUMBERS + 1))


def written(value: float) -> str:
    """A number of an axis, short."""
    if value >= 1e15 or value < 1e-4:
        return f"{value:.0e}".replace("e+", "e")
    for least, unit, word in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e5, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / unit:g}{word}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def positive(value: float | None) -> bool:
    """Whether a value has a place on a scale in steps of ten."""
    return value is not None and math.isfinite(value) and value > 0


def legend(figure: Figure, axes: Axes, width: float = WIDTH) -> None:
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
