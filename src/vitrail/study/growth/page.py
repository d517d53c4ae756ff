"""The report of a study of cost, and its tables as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.report import numbers
from vitrail.report import study_charts as charts
from vitrail.report.study_page import Chart, Part, StudyPage, Table, Trace, write_study
from vitrail.report.study_tables import write_csv, write_json
from vitrail.study import claims
from vitrail.study.folder import MEASURED, Study
from vitrail.study.growth import words
from vitrail.study.growth.laws import Crossing, Law
from vitrail.study.growth.measured import PASSES, Measured, Pass
from vitrail.study.growth.order import Cell
from vitrail.study.statistics.growth import Exponent

KIND = "cost"
COLUMNS = (
    "model", "pass", "image_size", "tokens", "batch", "seconds_per_image", "spread", "load", "flops_per_image",
    "flops_per_s", "attention_seconds_per_image", "attention_share", "attention_flops_share", "memory_bytes",
    "predicted_bytes", "standing_bytes",
)  # fmt: skip


def write(
    study: Study, cells: Sequence[Measured], laws: Sequence[Law], crossings: Sequence[Crossing],
    left_out: Mapping[Cell, str], needed: float, about: Mapping[str, str],
) -> list[Path]:  # fmt: skip
    """results.csv, results.json, report.html and figures; their paths, the report first.

    needed: seconds that would have been enough to say how anything grows, 0 where they were, or time does not help.
    about: machine, threads, precision, batch and command in words.
    """
    folder = study.folder
    left = {cell.name: why for cell, why in left_out.items()}
    told = [claim.record() for claim in words.claims(laws)]
    fitted = [_plain(law) for law in laws]
    content = {"claims": told, "laws": fitted, "crossings": crossings, "cells": cells, "left_out": left}
    tables = [
        write_csv(folder / "results.csv", COLUMNS, [_row(cell) for cell in cells]),
        write_json(folder / "results.json", {**content, "about": about}),
    ]
    models = dict.fromkeys(cell.model for cell in cells)
    batch = f"{about['batch']} image{'s'[: about['batch'] != '1']}"
    page = StudyPage(
        kind=KIND,
        name=about["machine"],
        subtitle=f"{', '.join(models)}; {batch} at once, {about['precision']}, {about['threads']}",
        verdict=words.verdict(laws, crossings, needed),
        cautions=[*words.cautions(cells), *words.left_out(left_out)],
        parts=list(_parts(cells, laws, crossings, left_out)),
        method=words.METHOD,
        limits=words.LIMITS,
        traces=[Trace(cell, MEASURED, "times, memory and counts", "measured") for cell in _names(cells)],
        command=about["command"],
        versions=study.record["versions"],
        settings="\n".join(f"{key}: {value}" for key, value in study.specification.items()),
    )
    return [*write_study(folder, page), *tables]


def _names(cells: Sequence[Measured]) -> list[str]:
    return [Cell(cell.model, cell.what, cell.size).name for cell in cells]


def _row(cell: Measured) -> dict[str, Any]:
    return {
        "model": cell.model, "pass": cell.what, "image_size": cell.size, "tokens": cell.tokens, "batch": cell.batch,
        "seconds_per_image": cell.time, "spread": cell.spread, "load": max(cell.load),
        "flops_per_image": cell.flops // cell.batch, "flops_per_s": cell.flops / (cell.time * cell.batch),
        "attention_seconds_per_image": cell.attention_time, "attention_share": cell.attention_time / cell.time,
        "attention_flops_share": cell.attention_flops / cell.flops, "memory_bytes": cell.memory,
        "predicted_bytes": cell.predicted, "standing_bytes": cell.standing,
    }  # fmt: skip


def _plain(law: Law) -> dict[str, Any]:
    return {
        "model": law.model, "pass": law.what, "sizes": [cell.size for cell in law.cells], "dropped": law.dropped,
        "time": law.time, "attention": law.attention, "memory": law.memory, "time_over_flops": law.flops,
        "terms": law.terms,
    }  # fmt: skip


def _parts(
    cells: Sequence[Measured], laws: Sequence[Law], crossings: Sequence[Crossing], left_out: Mapping[Cell, str]
) -> Iterator[Part]:
    order = list(dict.fromkeys(cell.model for cell in cells))
    if told := words.claims(laws):
        yield claims.part(told, states="pass")
    if any(law.time or law.memory or law.attention for law in laws):
        yield Part("growth", "How the costs grow", _GROWTH, [_exponents(laws)], [])
    for what in PASSES:
        own = [law for law in laws if law.what == what]
        if own:
            yield Part(what, words.called(what).capitalize(), [], [_cells(own)], list(_charts(what, own, order)))
    if crossings:
        largest = max(cell.size for cell in cells)
        rows = [_crossing(one) for one in crossings]
        columns = ("pass", "becomes faster", "than", "from px", "interval", "known")
        said = [f"Up to {largest} px crossings are measured; beyond, they are predicted by the fitted terms."]
        yield Part("crossings", "Which model is faster where", said, [Table("Crossings", columns, rows)])


_GROWTH = (
    "An exponent of 1 is growth in proportion to the number of tokens, 2 growth with its square: twice the side of an "
    "image is four times the tokens, and so 4 or 16 times the cost.",
    "The quadratic share is that of the b P^2 term in the fitted time at the largest size.",
)


def _exponents(laws: Sequence[Law]) -> Table:
    columns = ("model", "pass", "sizes", "time", "attention", "memory", "quadratic share", "time over FLOPs")
    rows = []
    for law in laws:
        last = law.largest
        share = "–" if law.terms is None else numbers.share(law.terms.share(last.pixels))
        sizes = f"{law.cells[len(law.dropped)].size} to {last.size}"
        rows.append(
            [law.model, words.called(law.what), sizes, words.exponent(law.time),
             words.exponent(law.attention) if last.attention_time else "none", words.exponent(law.memory), share,
             words.follows(law)]
        )  # fmt: skip
    note = (
        "Exponents over N with 95 % intervals; memory is what grows at all, without weights and optimizer. Time over "
        "FLOPs is 1 where time follows the count; beside it the FLOP/s reached at the smallest and largest size."
    )
    return Table("Exponents", columns, rows, note)


def _cells(laws: Sequence[Law]) -> Table:
    columns = ("model", "px", "N", "ms an image", "spread", "GFLOPs", "GFLOP/s", "attention", "its FLOPs", "MiB",
               "MiB predicted")  # fmt: skip
    rows = [
        [
            law.model, str(cell.size), f"{cell.tokens:,}", numbers.number(1000 * cell.time),
            numbers.share(cell.spread), numbers.number(cell.flops / cell.batch / 1e9),
            numbers.number(cell.flops / cell.time / cell.batch / 1e9),
            numbers.share(cell.attention_time / cell.time) if cell.attention else "none",
            numbers.share(cell.attention_flops / cell.flops) if cell.attention else "none",
            f"{cell.memory / 2**20:,.0f}",
            "–" if cell.predicted is None else f"{cell.predicted / 2**20:,.0f}",
        ]
        for law in laws
        for cell in law.cells
    ]  # fmt: skip
    note = (
        "Spread: how much longer the slowest of five rounds took than the fastest. Attention: its share of the time, "
        "and of the FLOPs. MiB: memory at the fullest instant, of the whole batch."
    )
    return Table("Every size", columns, rows, note, columns[1:])


def _charts(what: Pass, laws: Sequence[Law], order: Sequence[str]) -> Iterator[Chart]:
    name = words.called(what)
    time = {law.model: _growth(law, law.time, lambda cell: cell.time, 1000) for law in laws}
    yield Chart(
        f"time-{what}",
        charts.power(time, "pixels of an image", "ms an image", order),
        f"Time of a {name} over the pixels of an image: " + _alternative(laws, "time"),
        "Steps of ten on both axes: growth by a power is a straight line, and its slope the exponent.",
    )
    attending = [law for law in laws if law.largest.attention_time > 0]
    if attending:
        own = {law.model: _growth(law, law.attention, lambda cell: cell.attention_time, 1000) for law in attending}
        yield Chart(
            f"attention-{what}",
            charts.power(own, "pixels of an image", "ms of attention", order),
            f"Time of attention in a {name}: " + _alternative(attending, "attention"),
            "softmax(QK^T)V alone, at the shapes that the model gives it.",
        )
    memory = {law.model: _growth(law, law.memory, lambda cell: cell.growing, 2**-20) for law in laws}
    yield Chart(
        f"memory-{what}",
        charts.power(memory, "pixels of an image", "MiB beyond weights", order),
        f"Memory of a {name}: " + _alternative(laws, "memory"),
        "What stands whatever the image, weights and the optimizer's states, is left out.",
    )


def _growth(law: Law, found: Exponent | None, cost: Callable[[Measured], float], unit: float) -> charts.Growth:
    """A cost over pixels, of which tokens are a fixed share: the fitted exponent is the same, the factor is not.

    cost: what was fitted.  unit: how many of the chart's it is.
    """
    points = [(float(cell.pixels), unit * cost(cell)) for cell in law.cells]
    if found is None:
        return charts.Growth(points)
    e = found.exponent
    ratio = law.largest.tokens / law.largest.pixels
    return charts.Growth(points, unit * found.factor * ratio**e.value, (e.value, e.low, e.high))


def _alternative(laws: Sequence[Law], what: str) -> str:
    return "; ".join(f"{law.model} as N^{words.exponent(getattr(law, what))}" for law in laws) + "."


def _crossing(one: Crossing) -> list[str]:
    size = one.size
    if not math.isfinite(size.value):
        return [words.called(one.what), one.cheaper, one.dearer, "nowhere", "–", "predicted"]
    high = f"{size.high:.0f}" if math.isfinite(size.high) else "never"
    known = "predicted" if one.predicted else "measured" if one.clear else "unsure: rounds overlap"
    return [words.called(one.what), one.cheaper, one.dearer, f"{size.value:.0f}", f"{size.low:.0f} to {high}", known]
