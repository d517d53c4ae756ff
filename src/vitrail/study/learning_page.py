"""How learning curves are shown in a report: a chart with laws, and a table of what was measured and predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitrail.report import study_charts as charts
from vitrail.report.study_page import Chart, Part, Table
from vitrail.study.learning import AHEAD, Learned, turned
from vitrail.study.outcomes import SPOKEN
from vitrail.study.statistics.curves import FEWEST
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.recommendation import Measure
from vitrail.study.statistics.words import scored

POINTS = 200
"""Points of a law that is drawn."""


def part(learned: Sequence[Learned], measure: Measure, split: str, order: Sequence[str]) -> Part:
    """The section of a report. order: of all models of the study, for their colours."""
    share = measure.scale == 100
    series = {one.label: _series(one, measure) for one in learned}
    first = learned[0]
    sizes = [f"{size:,} images" for size in first.sizes]
    rows = [[one.label, *(scored(score, measure) for score in one.scores)] for one in learned]
    measured = Table("Scores by number of training images", ["model", *sizes], rows, "With 95 % intervals.", sizes)
    ahead = [f"x {times}" for times in AHEAD]
    rows = [[one.label, *(_ahead(one, n, measure) for n in AHEAD), hidden(one, measure)] for one in learned]
    columns = ["model", *ahead, "largest size, hidden"]
    predicted = Table("Scores predicted for more images", columns, rows, told(learned), ahead)
    figure = charts.curves(
        series, "training images", f"{split} {SPOKEN[measure.name]}", share, order, float(first.sizes[-1])
    )
    alternative = "Score against training images, with laws: " + "; ".join(
        f"{one.label} {scored(one.scores[0], measure)} with {one.sizes[0]:,}, {scored(one.scores[-1], measure)} with"
        f" {one.sizes[-1]:,}"
        for one in learned
    )
    chart = Chart("curves", figure, alternative, "What stands in the shade is predicted, not measured.")
    return Part("curves", "Would more images help", (), [measured, predicted], [chart], split)


def told(learned: Sequence[Learned]) -> str:
    """What the table is."""
    least = "" if all(one.curve for one in learned) else f" A law needs {FEWEST} sizes or more."
    return (
        "For multiples of the largest size, by a law error = a n^-b + c that was fitted to the scores; it holds only as"
        f" far as the law does.{least} Checked: the largest size was hidden and predicted from the others."
    )


def hidden(one: Learned, measure: Measure) -> str:
    """Whether the law predicted the largest size when that was hidden."""
    if one.hidden is None:
        return "too few sizes"
    said = turned(one.hidden.predicted, measure)
    return f"{'holds' if one.hidden.held else 'MISSED'}: {scored(said, measure)} predicted"


def _ahead(one: Learned, times: int, measure: Measure) -> str:
    return scored(one.ahead[times], measure) if times in one.ahead else "not predicted"


def _series(one: Learned, measure: Measure) -> charts.Curve:
    points = [(float(size), span(score)) for size, score in zip(one.sizes, one.scores, strict=True)]
    if one.curve is None:
        return charts.Curve(points)
    x = np.geomspace(one.sizes[0], max(AHEAD) * one.sizes[-1], POINTS)
    said = [turned(one.curve.predict(float(size)), measure) for size in x]
    line, low, high = (np.array([getattr(each, end) for each in said]) for end in ("value", "low", "high"))
    return charts.Curve(points, x, line, low, high)


def span(score: Interval) -> charts.Span:
    """A score as charts draw it."""
    return score.value, score.low, score.high
