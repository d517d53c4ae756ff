"""The report of a study of invariance, and its tables as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.report import study_charts as charts
from vitrail.report.numbers import share
from vitrail.report.study_page import Chart, Part, StudyPage, Table, Trace, write_study
from vitrail.report.study_tables import write_csv, write_json
from vitrail.study import claims
from vitrail.study.folder import MEASURED, Study
from vitrail.study.invariance import words
from vitrail.study.invariance.conditions import CIRCULAR, EDGE, FAMILIES, PATCHES, Condition
from vitrail.study.invariance.consistency import MEASURES, MOVED, STAYS
from vitrail.study.invariance.measured import Found, Row
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import listed, percent
from vitrail.study.subjects import PLACELESS, TRAINED, UNTRAINED

KIND = "invariance"
COLUMNS = (
    "name", "model", "state", "seeds", "family", "amount", "images",
    *(f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")),
)  # fmt: skip


def write(
    study: Study, found: Sequence[Found], conditions: Sequence[Condition], about: Mapping[str, str],
    failed: Mapping[str, str],
) -> list[Path]:  # fmt: skip
    """results.csv, results.json, report.html and figures; their paths, the report first.

    about: source, split, and other facts of the study in words.  failed: name -> why it was not measured.
    """
    folder = study.folder
    told = [claim.record() for claim in words.claims(found)]
    tables = [
        write_csv(folder / "results.csv", COLUMNS, _rows(found)),
        write_json(folder / "results.json", {"claims": told, "models": found, "failed": failed}),
    ]
    page = StudyPage(
        kind=KIND,
        name=about["source"],
        subtitle=_subtitle(found, about),
        verdict=words.verdict(found),
        cautions=[*(f"{name} was not measured: {why}" for name, why in failed.items()), *_cautions(found, about)],
        parts=list(_parts(found, conditions, about)),
        method=words.METHOD,
        limits=words.LIMITS,
        traces=[*(_trace(one) for one in found), *(Trace(name, "", "", why) for name, why in failed.items())],
        command=about["command"],
        versions=study.record["versions"],
        settings="\n".join(f"{key}: {value}" for key, value in study.specification.items()),
    )
    return [*write_study(folder, page), *tables]


def _subtitle(found: Sequence[Found], about: Mapping[str, str]) -> str:
    images = max((one.images for one in found), default=0)
    return f"{len(found)} models on {images} {about['split']} images of {about['source']}"


def _cautions(found: Sequence[Found], about: Mapping[str, str]) -> list[str]:
    said = []
    sides = sorted({one.side for one in found})
    if len(sides) > 1:
        told = listed([f"{side}" for side in sides])
        said.append(f"The models take images of {told} pixels: a shift by a pixel is not the same for all.")
    images = max((one.images for one in found), default=0)
    if images < 50:
        said.append(f"{images} images are few: intervals are wide, and most comparisons cannot tell.")
    trained = [(one, state) for one in found if (state := one.state(TRAINED)) is not None]
    dull = [f"{one.name} ({share(state.alike)} of pairs)" for one, state in trained if state.alike >= words.SAME]
    if dull:
        said.append(f"That an answer stays says little of {listed(dull)}: two different images often have the same.")
    if about.get("strangers"):
        said.append(about["strangers"])
    return said


def _trace(one: Found) -> Trace:
    what = f"{one.model}, {one.parameters:,} parameters, {one.side} px, first grid of {one.cell} px cells"
    return Trace(
        one.name, MEASURED, what + (f"; weights in {one.where}" if one.where else "; fresh weights"), "finished"
    )


def _rows(found: Sequence[Found]) -> Iterator[Mapping[str, Any]]:
    for one in found:
        for state in one.states:
            for row in state.rows:
                figures: dict[str, float] = {}
                for measure in MEASURES:
                    value = row.values[measure]
                    figures |= {measure: value.value, f"{measure}_low": value.low, f"{measure}_high": value.high}
                amount = "all" if math.isnan(row.amount) else row.amount
                yield {
                    "name": one.name, "model": one.model, "state": state.state, "seeds": len(state.seeds),
                    "family": row.family, "amount": amount, "images": one.images, **figures,
                }  # fmt: skip


def _parts(found: Sequence[Found], conditions: Sequence[Condition], about: Mapping[str, str]) -> Iterator[Part]:
    if told := words.claims(found):
        yield claims.part(told, about["split"])
    for state, measure, anchor, title, axis in (
        (TRAINED, STAYS, "trained", "Trained models", "images whose answer stays"),
        (UNTRAINED, MOVED, "untrained", "The same models with fresh weights", "how far outputs moved"),
    ):
        part = _of_state(found, conditions, state, measure, (anchor, title, axis), about["split"])
        if part is not None:
            yield part
    placeless = [(one, state) for one in found for state in one.states if state.state.endswith(PLACELESS)]
    if placeless:
        rows = []
        for one, without in placeless:
            own = one.side // one.cell
            row = without.of(PATCHES, own)
            whole = one.state(words.without_places(without.state))
            beside = whole.of(PATCHES, own) if whole else None
            cells = [_cell(r.values[MOVED]) if r else "" for r in (beside, row)]
            rows.append([one.name, words.without_places(without.state), f"{own} x {own}", *cells])
        columns = ["model", "weights", "patches", "with positions", "without"]
        yield Part(
            "positions", "Where a ViT's order comes from",
            ["The model's own patches are laid out anew. Without positions nothing tells where a patch stands, so the"
             " output stays the same to the last rounding."],
            [Table("How far outputs moved, of the way to another image", columns, rows, numbers=columns[2:])],
            split=about["split"],
        )  # fmt: skip


def _of_state(
    found: Sequence[Found], conditions: Sequence[Condition], state: str, measure: str, named: tuple[str, str, str],
    split: str,
) -> Part | None:  # fmt: skip
    there = [one for one in found if one.state(state) is not None]
    if not there:
        return None
    anchor, title, axis = named
    order = [one.name for one in found]
    drawn = []
    for family, x in ((EDGE, "shift in pixels, the edge repeated"), (CIRCULAR, "circular shift in pixels"),
                      (PATCHES, "patches a side, laid out anew")):  # fmt: skip
        series = {one.name: _curve(points) for one in there if (points := _points(one, state, family, measure))}
        if series:
            figure = charts.curves(series, x, axis, share=True, order=order)
            drawn.append(
                Chart(
                    f"{anchor}-{family.replace(' ', '-')}", figure,
                    f"{axis} over {x}, one line a model", _caption(family, measure),
                )
            )  # fmt: skip
    families = [family for family in FAMILIES if any(c.family == family for c in conditions)]
    tables = []
    for shown, what in (
        (STAYS, "Share of images whose answer stays"),
        (MOVED, "How far outputs moved, of the way to another image"),
    ):
        rows = []
        for one in there:
            measured = one.state(state)
            assert measured is not None, "only models with the state are there"
            cells = [_short(row.values[shown]) if (row := measured.of(family)) else "" for family in families]
            rows.append([one.name, *cells, share(measured.alike)] if shown == STAYS else [one.name, *cells])
        columns = ["model", *families, *(["by chance"] if shown == STAYS else [])]
        note = "In percent: the mean over all strengths of a kind, and its 95 % interval."
        if shown == STAYS:
            note += " By chance: how often two different images have the same answer."
        tables.append(Table(what, columns, rows, note, numbers=columns[1:]))
    tables.append(_all(there, state, conditions, measure, axis))
    words_of = []
    scores = [f"{one.name} {one.score}" for one in there if one.score]
    if state == TRAINED and scores:
        words_of.append(f"How good they are on {split}: {listed(scores)}.")
    if state == UNTRAINED:
        words_of.append("Fresh weights show what the architecture itself keeps, before it has seen an image.")
    return Part(anchor, title, words_of, tables, drawn, split=split)


def _all(there: Sequence[Found], state: str, conditions: Sequence[Condition], measure: str, axis: str) -> Table:
    columns = ["change", *(one.name for one in there)]
    rows = []
    for condition in conditions:
        cells = []
        for one in there:
            row = _row(one, state, condition)
            cells.append(_cell(row.values[measure]) if row else "")
        rows.append([condition.told + _half(condition, there), *cells])
    return Table(f"Every change: {axis}", columns, rows, numbers=columns[1:])


def _half(condition: Condition, there: Sequence[Found]) -> str:
    """Whose patch a shift is half of."""
    if condition.family not in (CIRCULAR, EDGE):
        return ""
    whose = [one.name for one in there if one.cell == 2 * condition.amount]
    return f" (half a patch of {listed(whose)})" if whose else ""


def _row(one: Found, state: str, condition: Condition) -> Row | None:
    measured = one.state(state)
    return measured.of(condition.family, condition.amount) if measured else None


def _points(one: Found, state: str, family: str, measure: str) -> list[tuple[float, charts.Span]]:
    measured = one.state(state)
    rows = [r for r in measured.rows if r.family == family and math.isfinite(r.amount)] if measured else []
    values = [(row.amount, row.values[measure]) for row in rows]
    return [(amount, (v.value, v.low, v.high)) for amount, v in values if math.isfinite(v.value)]


def _curve(points: Sequence[tuple[float, charts.Span]]) -> charts.Curve:
    """The points, joined."""
    unknown = np.full(len(points), np.nan)
    x, line = (np.array(column) for column in zip(*((amount, span[0]) for amount, span in points), strict=True))
    return charts.Curve(points, x, line, unknown, unknown)


def _caption(family: str, measure: str) -> str:
    higher = "Higher is steadier." if measure == STAYS else "Lower is steadier; 100 % is as far as to another image."
    if family == PATCHES:
        return f"The image is cut into so many patches a side, which are laid out in another order. {higher}"
    return f"{higher} Lines are 95 % intervals over images."


def _short(value: Interval) -> str:
    """In percent, for a table of many columns."""
    return _cell(value).replace(" %", "")


def _cell(value: Interval) -> str:
    return percent(value) if math.isfinite(value.value) else ""
