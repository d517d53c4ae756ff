"""report.html of a study: the recommendation first, then what it rests on, how it was measured, and every cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from markupsafe import Markup
from matplotlib.figure import Figure

from vitrail.explain import page
from vitrail.report import frame, plots

WIDEST = 4.4
"""Inches up to which a chart shares a row with others and shrinks with the page; a wider one scrolls in its own box."""
POINTS = 72
"""An inch of a figure in the units of its SVG."""


@dataclass(frozen=True)
class Table:
    """Rows of text under `columns`. numbers: the columns that are set right.  note: what the figures are, in words.

    Raises ValueError for a row of another length, and for a name in `numbers` that is no column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numbers: Collection[str] = ()

    def __post_init__(self) -> None:
        """Refuse what would set figures under the wrong heading."""
        if odd := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"Table {self.title!r}: {len(odd[0])} cells for {len(self.columns)} columns: {odd[0]}.")
        if missing := [name for name in self.numbers if name not in self.columns]:
            raise ValueError(f"Table {self.title!r} has no column {missing[0]!r}.")


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure. name: of its file, without suffix.  alternative: what a screen reader says.  caption: under it."""

    name: str
    figure: Figure
    alternative: str
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """A section of the page. anchor: its id.  split: what its figures were measured on, as a badge."""

    anchor: str
    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    split: str = ""


@dataclass(frozen=True)
class Trace:
    """Where a cell's figures come from. folder: relative to the study's, "" where it left none.  what: what it is.

    state: finished, failed and why, ... in words.
    """

    name: str
    folder: str
    what: str
    state: str


@dataclass(frozen=True, eq=False)
class StudyPage:
    """Everything on the page. kind: "compare", "cost", ...  verdict: sentences, the recommendation first.

    cautions: what the reader must know before using it.  method, limits: sentences.  settings: the complete
    specification, as text.
    """

    kind: str
    name: str
    subtitle: str
    verdict: Sequence[str]
    cautions: Sequence[str] = ()
    parts: Sequence[Part] = ()
    method: Sequence[str] = ()
    limits: Sequence[str] = ()
    traces: Sequence[Trace] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""


@dataclass(frozen=True)
class _Drawn:
    """A chart on the page. wide: its width in pixels where it must keep it, else 0."""

    svg: Markup
    caption: str
    wide: int


def write_study(folder: Path, study: StudyPage) -> list[Path]:
    """Write report.html and figures/*.png into `folder`; returns their paths, the page first.

    Raises ValueError for two charts or two parts of one name, and for a trace outside the study; TrainingError if the
    disk refuses.
    """
    charts = [chart for part in study.parts for chart in part.charts]
    _once([chart.name for chart in charts], "charts")
    _once([part.anchor for part in study.parts] + list(_OWN), "parts")
    environment = frame.environment()
    environment.filters |= {"href": _href, "whole": _whole}
    html = environment.get_template("study.html.j2").render(
        study=study,
        name=study.name,
        subtitle=study.subtitle,
        mark="comparison" if study.kind == "compare" else f"study: {study.kind}",
        contents=_contents(study),
        charts={part.anchor: [_drawn(chart) for chart in part.charts] for part in study.parts},
        pages={trace.folder for trace in study.traces if trace.folder and (folder / trace.folder / _PAGE).is_file()},
        version=study.versions.get("vitrail", ""),
    )
    figures = plots.write_figures(folder / "figures", {chart.name: chart.figure for chart in charts})
    return [page.write(folder / _PAGE, html), *figures]


_PAGE = "report.html"
_OWN = {"summary": "Summary", "method": "Method", "limits": "Limits", "traces": "Cells", "repeat": "Repeat"}


def _contents(study: StudyPage) -> list[tuple[str, str]]:
    there = {"method": study.method, "limits": study.limits, "traces": study.traces, "repeat": True}
    own = [(anchor, _OWN[anchor]) for anchor, shown in there.items() if shown]
    return [*((part.anchor, part.title) for part in study.parts), *own]


def _drawn(chart: Chart) -> _Drawn:
    width = float(chart.figure.get_size_inches()[0])
    svg = plots.to_svg(chart.figure, chart.name, chart.alternative)
    return _Drawn(svg, chart.caption, round(POINTS * width * 1.15) if width > WIDEST else 0)


def _href(folder: str) -> str:
    """A folder below the page as an address that stays below it, whatever its name."""
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{folder} is not in the study's folder.")
    return f"./{quote(str(path), errors='surrogateescape')}/"


def _whole(sentence: str) -> str:
    """A sentence whose numbers keep their percent sign, or that they are pixels, on their line."""
    return re.sub(r"(?<=\d) (%|px\b)", "\N{NO-BREAK SPACE}\\1", sentence)


def _once(names: Sequence[str], what: str) -> None:
    if again := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"Two {what} of the study are called {again[0]!r}.")
