"""The figures of a run: one definition each, drawn as PNG for `figures/` and as SVG that takes the page's colours.

`charts` has the kinds of them, a task's section chooses which.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from vitrail import durable
from vitrail.explain import figures as of_explanations
from vitrail.explain.profile import Profile
from vitrail.report import charts
from vitrail.report.charts import INK, LINE, MUTED, SERIES, Figures
from vitrail.report.data import ReportData
from vitrail.report.sections import section_of

CSS = {INK: "ink", MUTED: "muted", LINE: "line"} | {colour: f"series-{n}" for n, colour in enumerate(SERIES, 1)}
"""Drawn colour -> the page's variable that takes its place in SVG, so a figure follows light and dark."""

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
def style(name: str) -> Iterator[None]:
    """Our settings over matplotlib's defaults, whatever the user's matplotlibrc says; restored on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        yield


def draw(data: ReportData) -> Figures:
    """Every figure that the data allows."""
    figures: Figures = {}
    section = section_of(data.config.task.name)
    with style("figures"):
        if data.history:
            loss, rate = draw_training(data.history, data.best_epoch).items()
            drawn = [(curve.name, charts.metrics(data.history, data.best_epoch, curve)) for curve in section.curves]
            figures |= dict([loss, *((name, figure) for name, figure in drawn if figure is not None), rate])
        if data.subject and data.evaluations[data.subject].images:
            figures |= section.figures(data, data.evaluations[data.subject], data.subject)
    return figures | (draw_profile(data.profile) if data.profile else {})


def draw_training(history: Sequence[Mapping[str, Any]], best_epoch: float | None) -> Figures:
    """Loss and learning rate over the epochs."""
    with style("figures"):
        return {"loss": charts.loss(history, best_epoch), "learning_rate": charts.rate(history)}


def draw_profile(profile: Profile) -> Figures:
    """What a model's attention and first weights are like on the whole."""
    with style("figures"):
        return of_explanations.drawn(profile)


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
    with style("png"):
        figure.savefig(raw, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return raw.getvalue()


def to_svg(figure: Figure, name: str, alternative: str) -> Markup:
    """The figure as inline SVG: text stays text in the page's font, colours become the page's variables.

    name: keeps the ids of several figures on one page apart.  alternative: what a screen reader says.
    """
    raw = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with style(name):
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
