"""The report of a study of data efficiency, and its tables as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitrail.report.study_page import Part, Table, write_study
from vitrail.report.study_tables import write_csv, write_json
from vitrail.study import cells_page, learning_page
from vitrail.study.compare_work import Work
from vitrail.study.data_efficiency import words
from vitrail.study.data_efficiency.results import Results, summary
from vitrail.study.folder import CELLS
from vitrail.study.shares import part_epochs
from vitrail.study.statistics.recommendation import Measure
from vitrail.study.statistics.words import scored, span
from vitrail.training.journal import duration

KIND = "data-efficiency"
COLUMNS = ("model", "fraction", "images", "score", "score_low", "score_high", "epochs", "rate", "seeds", "cells")
SHOWN = 20
"""Classes that the page lists; results.json has all."""


def write(work: Work, found: Results) -> list[Path]:
    """results.csv, results.json, report.html and figures; their paths, the report first."""
    folder, said = work.study.folder, words.verdict(found)
    tables = [
        write_csv(folder / "results.csv", COLUMNS, list(_rows(work, found))),
        write_json(folder / "results.json", summary(found, said)),
    ]
    page = cells_page.page(
        work, words.subtitle(work, found), said, words.cautions(work, found), _parts(work, found),
        words.method(work), words.LIMITS,
    )  # fmt: skip
    return [*write_study(folder, page), *tables]


def _rows(work: Work, found: Results) -> Iterator[dict[str, Any]]:
    for one in found.learned:
        for fraction, images, score in zip(found.fractions, one.sizes, one.scores, strict=True):
            done = work.full[one.label] if fraction == 1 else work.parts[one.label][fraction]
            epochs = work.plan.epochs[one.label]
            yield {
                "model": one.label, "fraction": str(fraction), "images": images, "score": score.value,
                "score_low": score.low, "score_high": score.high, "epochs": part_epochs(epochs, fraction),
                "rate": work.rates[one.label], "seeds": len(done),
                "cells": " ".join(f"{CELLS}/{each.cell.name}" for each in done),
            }  # fmt: skip


def _parts(work: Work, found: Results) -> Iterator[Part]:
    order = [entry.label for entry in work.asked.entries]
    yield learning_page.part(found.learned, found.measure, found.split, order)
    if len(found.learned) > 1:
        yield _leads(found)
    if found.labelling.gains:
        yield _labels(found)
    yield _training(work, found)


def _leads(found: Results) -> Part:
    measure = found.measure
    rows = []
    for lead in found.leads:
        for number, one in enumerate(lead.behind):
            first = [f"{lead.images:,}", lead.leader, scored(lead.score, measure)] if number == 0 else ["", "", ""]
            rows.append([*first, one.second, _distance(one.together.low, one.together.high, measure), one.verdict])
    columns = ["images", "best score", "score", "ahead of", "by (all together)", "verdict"]
    table = Table("Who leads at each size", columns, rows, words.of_leads(found), numbers=["images", columns[4]])
    return Part("leads", "Which model leads where", (), [table], (), found.split)


def _distance(low: float, high: float, measure: Measure) -> str:
    return "not known" if low != low else span(low, high, measure)


def _labels(found: Results) -> Part:
    rows = [
        [one.label, f"{100 * one.gain.value:.2f}", f"{100 * one.gain.low:.2f} to {100 * one.gain.high:.2f}",
         f"{100 * one.first:.0f}"]
        for one in found.labelling.gains[:SHOWN]
    ]  # fmt: skip
    more = found.labelling.gains[0].more
    columns = ["class", "points", "interval", "first"]
    title = f"What {more} more images of one class would bring"
    table = Table(title, columns, rows, words.of_labels(found), numbers=columns[1:])
    return Part("labels", "Which class to label next", (), [table], (), found.split)


def _training(work: Work, found: Results) -> Part:
    rows = []
    for entry in work.asked.entries:
        label = entry.label
        seconds = sum(done.seconds for done in work.all_done() if done.cell.label == label)
        epochs = work.plan.epochs[label]
        each = ", ".join(f"{part_epochs(epochs, fraction):g}" for fraction in found.fractions)
        rows.append([label, each, f"x {work.rates[label]:g}", entry.teacher or "none", duration(seconds)])
    columns = ["model", "epochs at each size", "rate", "teacher", "time"]
    note = "Time is of all runs of a model in this study, reports included; a rate is a multiple of the recipe's own."
    table = Table("How each model was trained", columns, rows, note, numbers=["time"])
    return Part("training", "How the models were trained", (), [table])
