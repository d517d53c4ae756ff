"""The report of a study of scaling, and its tables as data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.report import study_charts as charts
from vitrail.report.study_page import Chart, Part, Table, write_study
from vitrail.report.study_tables import write_csv, write_json
from vitrail.study import cells_page
from vitrail.study.folder import CELLS
from vitrail.study.learning_page import span
from vitrail.study.outcomes import SPOKEN
from vitrail.study.scaling import words
from vitrail.study.scaling.results import Fitted, Results, Spent, summary
from vitrail.study.scaling.work import WorkOnSizes
from vitrail.study.statistics.words import scored
from vitrail.training.journal import duration

KIND = "scaling"
COLUMNS = (
    "size", "width", "depth", "heads", "hidden", "parameters", "flops_per_image", "budget", "epochs", "flops", "error",
    "error_low", "error_high", "rate", "seeds", "cells",
)  # fmt: skip
BEYOND = 4.0
"""Multiple of the largest budget up to which the law is drawn."""
POINTS = 100


def write(work: WorkOnSizes, found: Results) -> list[Path]:
    """results.csv, results.json, report.html and figures; their paths, the report first."""
    folder, said = work.study.folder, words.verdict(found)
    tables = [
        write_csv(folder / "results.csv", COLUMNS, list(_rows(work, found))),
        write_json(folder / "results.json", summary(found, said)),
    ]
    page = cells_page.page(
        work, words.subtitle(work, found), said, words.cautions(work, found), _parts(work, found),
        words.method(work, found), words.LIMITS,
    )  # fmt: skip
    return [*write_study(folder, page), *tables]


def _rows(work: WorkOnSizes, found: Results) -> Iterator[dict[str, Any]]:
    for place, budget in enumerate(found.budgets):
        for size in found.sizes:
            shape, error = size.shape, budget.errors[size.label]
            done = work.at[size.label, place][: found.seeds]
            yield {
                "size": size.label, "width": shape.width, "depth": shape.depth, "heads": shape.heads,
                "hidden": shape.hidden, "parameters": size.parameters, "flops_per_image": size.flops,
                "budget": place + 1, "epochs": budget.seen[size.label], "flops": budget.each[size.label],
                "error": error.value, "error_low": error.low, "error_high": error.high,
                "rate": work.rates[size.label], "seeds": len(done),
                "cells": " ".join(f"{CELLS}/{each.cell.name}" for each in done),
            }  # fmt: skip


def _parts(work: WorkOnSizes, found: Results) -> Iterator[Part]:
    yield _budgets(found)
    if found.law is not None:
        yield _law(found, found.law)
    yield _sizes(work, found)


def _error(found: Results) -> str:
    """What an error is called."""
    spoken = SPOKEN[found.measure.name]
    return f"{found.split} error (1 - {spoken})" if found.measure.better == "higher" else f"{found.split} {spoken}"


def _budgets(found: Results) -> Part:
    columns = ["size", "parameters", *(words.flops(budget.flops) for budget in found.budgets)]
    rows = [
        [size.label, f"{size.parameters:,}", *(scored(b.errors[size.label], found.measure) for b in found.budgets)]
        for size in found.sizes
    ]
    note = f"{_error(found)}, lower is better, with 95 % intervals."
    errors = Table("Error of every size with every budget", columns, rows, note, numbers=columns[1:])
    best = Table(
        "Best size for each budget", ["budget", "lowest error", "of", "best size, as fitted", "among those tried"],
        [[words.flops(b.flops), scored(b.errors[b.best], found.measure), b.best, *_optimum(b)]
         for b in found.budgets],
        "Parameters, where the parabola through all sizes is lowest; among those tried: in how many of 100 draws.",
        numbers=["budget", "lowest error", "best size, as fitted", "among those tried"],
    )  # fmt: skip
    iso = {words.flops(budget.flops): _iso(budget, found) for budget in found.budgets}
    figure = charts.iso(iso, "parameters", _error(found), found.measure.scale == 100)
    said = "; ".join(f"{words.flops(budget.flops)}: lowest with {budget.best}" for budget in found.budgets)
    chart = Chart("iso", figure, f"Error over the size of the model, a line for each budget. {said}.",
                  "Each line has one budget: larger models on it saw fewer images.")  # fmt: skip
    return Part("budgets", "Which size for which budget", (), [errors, best], [chart], found.split)


def _optimum(budget: Spent) -> tuple[str, str]:
    if budget.optimum is None or not budget.optimum.size.known:
        return "not told", ""
    size = budget.optimum.size
    return f"{_end(size.value)} ({_end(size.low)} to {_end(size.high)})", f"{100 * budget.optimum.inside:.0f}"


def _end(size: float) -> str:
    if not math.isfinite(size):
        return "above those tried"
    return f"{size / 1e6:.3g} M" if size > 0 else "below those tried"


def _iso(budget: Spent, found: Results) -> charts.Budget:
    points = [(float(size.parameters), span(budget.errors[size.label])) for size in found.sizes]
    optimum, counts = budget.optimum, [size.parameters for size in found.sizes]
    best = None
    if optimum is not None and min(counts) <= optimum.size.value <= max(counts):
        best = optimum.size.value, optimum.error.value
    return charts.Budget(points, best)


def _law(found: Results, law: Fitted) -> Part:
    measure, last = found.measure, found.budgets[-1]
    x = np.geomspace(found.budgets[0].flops, BEYOND * last.flops, POINTS)
    told = [law.curve.predict(float(flops)) for flops in x]
    line, low, high = (np.array([getattr(each, end) for each in told]) for end in ("value", "low", "high"))
    points = [(budget.flops, span(budget.errors[budget.best])) for budget in found.budgets]
    figure = charts.curves(
        {"lowest error of all sizes": charts.Curve(points, x, line, low, high)}, "training FLOPs", _error(found),
        measure.scale == 100, until=last.flops,
    )  # fmt: skip
    rows = []
    meanings = {"b": "how fast it falls", "c": "where it levels off", "d": "compute before the law holds, FLOPs",
                "a": "error above c at C + d = 1 FLOP"}  # fmt: skip
    for name, meaning in meanings.items():
        value = law.curve.parameters[name]
        if name == "d" and not law.shifted:
            continue
        rows.append([name, meaning, f"{value.value:.3g}", f"{value.low:.3g} to {value.high:.3g}"])
    rows += [
        [f"x {times}", "lowest error predicted, percent" if measure.scale == 100 else "lowest error predicted",
         *_ahead(law, times * last.flops, found)]
        for times in (2, 4)
    ]  # fmt: skip
    columns = ["", "what", "value", "interval"]
    table = Table("The law of the lowest error", columns, rows, "With 95 % intervals.", numbers=["value", "interval"])
    alternative = f"Lowest error over training FLOPs with a law; exponent {law.curve.parameters['b'].value:.2f}."
    chart = Chart("law", figure, alternative, "What stands in the shade is predicted, not measured.")
    return Part("law", "What more compute would bring", (), [table], [chart], found.split)


def _ahead(law: Fitted, flops: float, found: Results) -> tuple[str, str]:
    told = law.curve.predict(flops).scaled(found.measure.scale)
    return f"{told.value:.3g}", f"{told.low:.3g} to {told.high:.3g}"


def _sizes(work: WorkOnSizes, found: Results) -> Part:
    rows = []
    for size in found.sizes:
        shape = size.shape
        seconds = sum(done.seconds for done in work.all_done() if done.cell.label == size.label)
        asked = ", ".join(f"{value:.1f}" for value in shape.asked)
        rows.append([
            size.label, f"{shape.scale:g}", str(shape.width), str(shape.depth), str(shape.heads), str(shape.hidden),
            asked, f"{size.parameters:,}", f"{size.flops / 1e9:.3g}",
            ", ".join(f"{budget.seen[size.label]:g}" for budget in found.budgets), f"x {work.rates[size.label]:g}",
            duration(seconds),
        ])  # fmt: skip
    columns = ["size", "scale", "width", "depth", "heads", "MLP", "before rounding", "parameters", "GFLOPs an image",
               "epochs with each budget", "rate", "time"]  # fmt: skip
    note = (
        "Before rounding: width, depth and MLP as the exponents have them. GFLOPs: of training on one image. Time is of"
        " all runs of a size, reports included."
    )
    numbers = [name for name in columns if name not in ("size", "before rounding", "epochs with each budget")]
    return Part("sizes", "The sizes", (), [Table("Sizes and how they were trained", columns, rows, note, numbers)])
