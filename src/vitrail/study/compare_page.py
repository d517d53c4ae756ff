"""The report of a comparison, and its tables as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitrail.report import study_charts as charts
from vitrail.report.numbers import share, share_between
from vitrail.report.study_page import Chart, Part, Table, write_study
from vitrail.report.study_tables import write_csv, write_json
from vitrail.study import cells_page, learning_page
from vitrail.study import compare_words as words
from vitrail.study.compare_results import Results, Row, leading_first, summary
from vitrail.study.compare_work import Work
from vitrail.study.folder import CELLS
from vitrail.study.measure import Measured
from vitrail.study.outcomes import SPOKEN
from vitrail.study.runner import Done
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import scored
from vitrail.training.journal import duration

COLUMNS = (
    "model", "label", "metric", "split", "images", "score", "score_low", "score_high", "val", "rate", "lr", "epochs",
    "runs", "teacher", "parameters", "gmacs", "latency_p50_ms", "latency_p95_ms", "images_per_s", "batch",
    "peak_memory_mb", "model_memory_mb", "disk_mb", "joules_per_image", "robustness_drop", "robustness_images", "ece",
    "train_seconds", "cells", "failed",
)  # fmt: skip


def write(work: Work, found: Results) -> list[Path]:
    """results.csv, results.json, report.html and figures; their paths, the report first."""
    folder = work.study.folder
    tables = [
        write_csv(folder / "results.csv", COLUMNS, [_csv(row, found) for row in found.rows]),
        write_json(folder / "results.json", summary(found)),
    ]
    page = cells_page.page(
        work, words.subtitle(work, found), found.said, words.cautions(work, found), _parts(work, found),
        words.method(work, found), words.limits(work, found),
    )  # fmt: skip
    return [*write_study(folder, page), *tables]


def _csv(row: Row, found: Results) -> dict[str, Any]:
    made: dict[str, Any] = {
        "model": row.model, "label": row.label, "metric": found.measure.name, "split": found.split,
        "images": found.images, "val": row.val, "rate": row.rate, "lr": row.lr, "epochs": row.epochs,
        "runs": len(row.full), "teacher": row.teacher, "failed": row.failed,
        "train_seconds": sum(point.seconds for point in row.full),
        "cells": " ".join(f"{CELLS}/{point.cell}" for point in row.full),
    }  # fmt: skip
    if row.score is not None:
        made |= {"score": row.score.value, "score_low": row.score.low, "score_high": row.score.high}
    m = row.measured
    if m is not None:
        made |= {
            "parameters": m.parameters, "gmacs": m.gmacs, "latency_p50_ms": m.speed.answer.p50.value * 1e3,
            "latency_p95_ms": m.speed.answer.p95.value * 1e3, "images_per_s": m.speed.best.images_per_s,
            "batch": m.speed.best.batch, "disk_mb": m.disk / 1e6, "joules_per_image": m.energy.joules,
            "peak_memory_mb": m.memory.peaks[0].total / 1e6 if m.memory.peaks else None,
            "model_memory_mb": m.memory.peaks[0].model / 1e6 if m.memory.peaks else None,
            "robustness_drop": m.robustness.drop.value if m.robustness else None,
            "robustness_images": m.robustness.images if m.robustness else None, "ece": _ece(m),
        }  # fmt: skip
    return made


def _ece(found: Measured) -> float | None:
    figure = found.calibration.figures.get("ece") if found.calibration else None
    return figure.value if figure else None


# ---------------------------------------------------------------------------------------------------------- the parts


def _parts(work: Work, found: Results) -> Iterator[Part]:
    yield _scores(work, found)
    if found.comparisons:
        yield _differences(found)
    rows = [row for row in found.rows if row.measured is not None]
    if rows:
        yield _costs(found, rows)
        yield from _robustness(found, rows)
    if found.learned:
        yield learning_page.part(found.learned, found.measure, found.split, _order(found))
    yield _training(work, found)


def _order(found: Results) -> list[str]:
    return [row.label for row in found.rows]


def _scores(work: Work, found: Results) -> Part:
    measure, percent = found.measure, found.measure.scale == 100
    name = SPOKEN[measure.name]
    rows = []
    for row in found.rows:
        score = scored(row.score, measure) if row.score else f"not compared: {row.failed or 'not trained'}"
        # what chose the best epoch may be another figure, in another unit: the mean error of a depth, beside abs_rel
        val = _score(row.val, 100 if work.ground.task.maximise else 1) if row.val is not None else ""
        each = ", ".join(_score(point.test, measure.scale) for point in row.full if point.test is not None)
        rows.append([row.label, score, val, each])
    columns = ["model", f"{found.split} {name}", f"val {work.ground.task.headline}", words.each(work)]
    table = Table(
        "Scores", columns, rows,
        words.of_scores(work, found),
        numbers=columns[1:3],
    )  # fmt: skip
    spans = {row.label: _span(row.score) for row in found.rows}
    figure = charts.intervals(spans, f"{found.split} {name}", percent)
    said = "; ".join(f"{row.label} {scored(row.score, measure)}" for row in found.rows if row.score)
    chart = Chart("scores", figure, f"{name} of each model with its interval: {said}", "95 % intervals.")
    return Part("scores", "How good each model is", (), [table], [chart], found.split)


def _differences(found: Results) -> Part:
    measure = found.measure
    rows, spans = [], dict[str, charts.Span | None]()
    for one in sorted(map(leading_first, found.comparisons), key=lambda c: -c.together.value):
        pair = f"{one.first} - {one.second}"
        rows.append([one.first, one.second, _difference(one.alone, measure.scale),
                     _difference(one.together, measure.scale), one.verdict])  # fmt: skip
        spans[pair] = _spanned(one.together.scaled(measure.scale))
    columns = ["model", "against", "alone", "all together", "verdict"]
    unit = measure.unit or "the target's unit"
    table = Table("Differences", columns, rows, words.of_differences(measure, unit), numbers=columns[2:4])
    figure = charts.intervals(spans, f"better by ({unit})", mark=0.0, marked="no difference")
    chart = Chart(
        "differences", figure, "Differences of all pairs with intervals that hold together: "
        + "; ".join(f"{row[0]} against {row[1]} {row[3]}, {row[4]}" for row in rows),
        "To the right of the line the first model of the pair is better.",
    )  # fmt: skip
    return Part("differences", "Which model is better", (), [table], [chart], found.split)


def _costs(found: Results, rows: Sequence[Row]) -> Part:
    cells = []
    for row in rows:
        m = row.measured
        assert m is not None, "asked only for what was measured"
        peak = m.memory.peaks[0] if m.memory.peaks else None
        cells.append([
            row.label, f"{m.speed.answer.p50.value * 1e3:.3g}", f"{m.speed.answer.p95.value * 1e3:.3g}",
            f"{m.speed.best.images_per_s:,.0f} (batch {m.speed.best.batch})", _many(m.parameters),
            f"{m.gmacs:.3g}", f"{peak.model / 1e6:,.0f} MB" if peak else "not measured", f"{m.disk / 1e6:.3g} MB",
            f"{m.energy.joules:.3g} J" if m.energy.joules is not None else "not reported",
        ])  # fmt: skip
    columns = ["model", "ms p50", "ms p95", "images/s", "parameters", "GMACs", "memory", "on disk", "energy"]
    table = Table("Costs", columns, cells, words.of_costs(rows), numbers=columns[1:])
    made = []
    if found.cost:
        latency = found.cost == "latency_ms"
        prices = {
            row.label: row.measured.speed.answer.p50.value * 1e3 if latency else float(row.measured.parameters)
            for row in rows if row.measured is not None
        }  # fmt: skip
        figure = charts.pareto(
            prices, {row.label: _span(row.score) for row in rows}, found.pareto,
            "ms for one image (median)" if latency else "parameters", f"{found.split} {SPOKEN[found.measure.name]}",
            found.measure.scale == 100, found.recommendation.choice, _order(found),
        )  # fmt: skip
        made.append(Chart(
            "pareto", figure, f"Score against cost. None is better and cheaper than {', '.join(found.pareto)}.",
            "Of the joined models none is both better and cheaper, by the figures as measured.",
        ))  # fmt: skip
    return Part("cost", "What each model costs", (), [table], made)


def _robustness(found: Results, rows: Sequence[Row]) -> Iterator[Part]:
    tables, drawn = [], []
    robust = {row.label: row.measured.robustness for row in rows if row.measured and row.measured.robustness}
    if robust:
        first = next(iter(robust.values()))
        kinds = list(first.by_kind)
        columns = ["model", "unchanged", *kinds, "mean loss"]
        cells = [
            [label, share(one.clean.value) if one.maximise else _number(one.clean.value),
             *(share(one.by_kind[kind].value) if kind in one.by_kind else "" for kind in kinds),
             share_between(one.drop.value, one.drop.low, one.drop.high)]
            for label, one in robust.items()
        ]  # fmt: skip
        tables.append(Table("What is lost when images are changed", columns, cells, words.of_robustness(first),
                            numbers=columns[1:]))  # fmt: skip
        strengths = [[kind, text] for kind, text in first.told.items()]
        tables.append(Table("How images were changed", ["change", "at levels 1, 2, 3"], strengths))
        levels = {
            kind: {
                label: [one.clean.value, *(level.score.value for level in one.levels if level.kind == kind)]
                for label, one in robust.items()
            }
            for kind in kinds
        }
        figure = charts.bars_by_level(
            levels, first.metric, first.maximise and found.measure.scale == 100, _order(found)
        )
        said = "; ".join(f"{label} loses {share(one.drop.value)} on the mean" for label, one in robust.items())
        drawn.append(
            Chart("robustness", figure, f"Scores by kind and level of change: {said}", "Level 3 is strongest.")
        )
    calibrated = [(row.label, row.measured.calibration) for row in rows if row.measured and row.measured.calibration]
    if calibrated:
        names = list(dict.fromkeys(name for _, one in calibrated for name in one.figures))
        cells = [[label, *(_figure(one.figures.get(name)) for name in names)] for label, one in calibrated]
        tables.append(Table("Whether confidence can be believed", ["model", *names], cells,
                            words.of_calibration([one for _, one in calibrated]), numbers=names))  # fmt: skip
    if tables:
        split = next(iter(robust.values())).split if robust else calibrated[0][1].split
        yield Part("robustness", "How robust and how honest", (), tables, drawn, split)


def _training(work: Work, found: Results) -> Part:
    rows = []
    for row in found.rows:
        tried = work.tuned.get(row.label, {})
        headline = work.ground.task.headline
        each = ", ".join(f"x {rate:g}: {_tried(done, headline)}" for rate, done in sorted(tried.items()))
        seconds = sum(done.seconds for done in work.all_done() if done.cell.label == row.label)
        rows.append([row.label, f"{row.epochs:g}", f"x {row.rate:g}", f"{row.lr:.3g}" if row.lr else "",
                     each or "not tuned", row.teacher or "none", duration(seconds)])  # fmt: skip
    columns = ["model", "epochs", "rate", "learning rate", "tried (val)", "teacher", "time"]
    table = Table("Training", columns, rows, words.of_training(work), numbers=["epochs", "time"])
    return Part("training", "How the models were trained", (), [table], (), "val")


def _tried(done: Done, headline: str) -> str:
    score = done.val(headline)
    return f"{score:.4f}" if score is not None else "failed" if done.run is None else "no score"


# ------------------------------------------------------------------------------------------------------------ figures


def _span(score: Interval | None) -> charts.Span | None:
    return None if score is None else _spanned(score)


def _spanned(score: Interval) -> charts.Span:
    return score.value, score.low, score.high


def _difference(one: Interval, scale: float) -> str:
    value, low, high = (each * scale for each in (one.value, one.low, one.high))
    if not one.known:
        return f"{value:+.2g} (interval not known)"
    places = max(0, min(4, 1 - math.floor(math.log10(max(high - low, 1e-9) / 2))))
    return f"{value:+.{places}f} ({low:+.{places}f} to {high:+.{places}f})"


def _many(count: int) -> str:
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count:,}"


def _figure(one: Interval | None) -> str:
    if one is None:
        return ""
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" if one.known else f"{one.value:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _score(value: float, scale: float) -> str:
    return f"{value * scale:.1f}" if scale == 100 else f"{value:.4g}"
