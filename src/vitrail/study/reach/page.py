"""The report of a study of reach, and its tables as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.report import study_charts as charts
from vitrail.report.statistics import Doubles
from vitrail.report.study_page import Chart, Part, StudyPage, Table, Trace, write_study
from vitrail.report.study_tables import write_csv, write_json
from vitrail.study import claims
from vitrail.study.folder import MEASURED, Study
from vitrail.study.reach import words
from vitrail.study.reach.measured import Found, StateFound, shown_layers
from vitrail.study.statistics.words import percent

KIND = "reach"
COLUMNS = (
    "name", "model", "state", "seeds", "layer", "stage", "grid", "images", "distance", "distance_low", "distance_high",
    "nearest_head", "farthest_head", "even_distance", "windows", "field_half", "field_half_low", "field_half_high",
    "field_most", "field_most_low", "field_most_high", "field_beyond_cell", "field_even", "reachable_share",
)  # fmt: skip
Pictures = Mapping[str, Mapping[str, Doubles]]
"""Name of a model -> state and layer -> mean field (H, W)."""


def write(
    study: Study, found: Sequence[Found], pictures: Pictures, about: Mapping[str, str], failed: Mapping[str, str]
) -> list[Path]:
    """results.csv, results.json, report.html and figures; their paths, the report first.

    about: source, split and command in words.  failed: name -> why it was not measured.
    """
    folder = study.folder
    told = [claim.record() for claim in words.claims(found)]
    tables = [
        write_csv(folder / "results.csv", COLUMNS, list(_rows(found))),
        write_json(
            folder / "results.json",
            {"claims": told, "models": found, "failed": failed},
        ),
    ]
    images = max((len(one.images) for one in found), default=0)
    page = StudyPage(
        kind=KIND,
        name=about["source"],
        subtitle=f"{', '.join(one.name for one in found)} on {images} {about['split']} images of {about['source']}",
        verdict=words.verdict(found),
        cautions=[f"{name} was not measured: {why}" for name, why in failed.items()] + _cautions(found),
        parts=list(_parts(found, pictures, about["split"])),
        method=words.METHOD,
        limits=words.LIMITS,
        traces=[_trace(one) for one in found],
        command=about["command"],
        versions=study.record["versions"],
        settings="\n".join(f"{key}: {value}" for key, value in study.specification.items()),
    )
    return [*write_study(folder, page), *tables]


def _cautions(found: Sequence[Found]) -> list[str]:
    untrained = [one.name for one in found if not one.where]
    said = []
    if untrained:
        said.append(
            f"Not trained, so only fresh weights are shown: {', '.join(untrained)}. What training does to reach "
            "is seen of runs alone."
        )
    sizes = {one.size for one in found}
    if len(sizes) > 1:
        said.append("These models take images of different sizes: compare their pixels with care.")
    return said


def _trace(one: Found) -> Trace:
    where = f"weights of {one.where}" if one.where else "fresh weights"
    return Trace(one.name, MEASURED, where, "measured")


def _rows(found: Sequence[Found]) -> Iterator[dict[str, Any]]:
    for one in found:
        for state in one.states:
            for number, sees in enumerate(state.sees):
                row: dict[str, Any] = {
                    "name": one.name, "model": one.model, "state": state.name, "seeds": state.seeds,
                    "layer": number + 1, "stage": sees.stage, "grid": f"{sees.grid[0]}x{sees.grid[1]}",
                    "images": len(one.images), "field_half": sees.size.half.value,
                    "field_half_low": sees.size.half.low, "field_half_high": sees.size.half.high,
                    "field_most": sees.size.most.value, "field_most_low": sees.size.most.low,
                    "field_most_high": sees.size.most.high, "field_beyond_cell": sees.size.beyond.value,
                    "field_even": sees.even, "reachable_share": sees.whole,
                }  # fmt: skip
                if len(state.looks) == len(state.sees):
                    looks = state.looks[number]
                    row |= {
                        "distance": looks.mean.value, "distance_low": looks.mean.low, "distance_high": looks.mean.high,
                        "nearest_head": min(looks.heads), "farthest_head": max(looks.heads), "even_distance": one.even,
                        "windows": looks.windows,
                    }  # fmt: skip
                yield row


def _parts(found: Sequence[Found], pictures: Pictures, split: str) -> Iterator[Part]:
    shown = [(one, state) for one in found for state in one.states]
    if told := words.claims(found):
        yield claims.part(told, split)
    looking = [(one, state) for one, state in shown if state.looks]
    if looking:
        missing = [f"{one.name}: {one.lack}." for one in found if one.lack]
        yield Part(
            "distance", "How far heads look", [*_DISTANCE, *missing], [_distances(looking)], _heads(looking), split
        )
    yield Part("field", "From how far pixels count", _FIELD, [_sizes(shown)], list(_fields(found, pictures)), split)


_DISTANCE = (
    "Each dot is a head: how many pixels away, on the mean, what it looks at is. A head on the dotted line looks as "
    "far as one that gives every patch the same attention; fresh weights do nearly that, and so look far without "
    "choosing what at.",
)
_FIELD = (
    "A picture shows which pixels count in what the central cell becomes, after the first layer, in the middle and in "
    "the end. The radius that holds half of it is its size; beside it stands what the radius would be were every pixel "
    "of the image to count alike.",
)


def _named(one: Found, state: StateFound) -> str:
    return f"{one.name}, {state.name}"


def _distances(looking: Sequence[tuple[Found, StateFound]]) -> Table:
    columns = ("model", "layer", "mean, px", "heads, px", "allowed, px", "even, px", "windows")
    rows = [
        [_named(one, state), str(number + 1), words.bare(looks.mean), words.heads(looks),
         words.distance(looks.allowed), words.distance(one.even), str(looks.windows)]
        for one, state in looking
        for number, looks in enumerate(state.looks)
        if number in shown_layers(len(state.looks))
    ]  # fmt: skip
    note = "First, middle and last layer; every layer is in results.csv. Intervals: 95 %, over images."
    return Table("Attention distance", columns, rows, note, columns[2:])


def _heads(looking: Sequence[tuple[Found, StateFound]]) -> list[Chart]:
    made = []
    for size in dict.fromkeys(one.size for one, _ in looking):
        own = [(one, state) for one, state in looking if one.size == size]
        even = [one.even for one, _ in own]  # of grids of another width it differs by a little
        figure = charts.heads(
            {_named(one, state): [looks.heads for looks in state.looks] for one, state in own}, size[0],
            float(np.mean(even)) if max(even) < 1.05 * min(even) else None,
        )  # fmt: skip
        first = [f"{_named(one, state)}: {words.pixels(state.looks[0].mean)}" for one, state in own]
        told = f"Attention distance of each head by layer; in the first layer {'; '.join(first)}."
        made.append(Chart(f"heads-{size[0]}x{size[1]}", figure, told))
    return made


def _sizes(shown: Sequence[tuple[Found, StateFound]]) -> Table:
    columns = ("model", "layer", "grid", "half, px", "90 %, px", "beyond its cell", "even, px", "can count, px")
    rows = [
        [_named(one, state), str(number + 1), f"{sees.grid[0]} x {sees.grid[1]}", words.bare(sees.size.half),
         words.bare(sees.size.most), percent(sees.size.beyond), words.distance(sees.even),
         "all" if sees.whole == 1 else f"{sees.box[0]} x {sees.box[1]}"]
        for one, state in shown
        for number, sees in enumerate(state.sees)
        if number in shown_layers(len(state.sees)) or number in _stage_ends(state)
    ]  # fmt: skip
    note = (
        "Radii around the cell's centre that hold half and 90 % of its field, and, were the field spread evenly over "
        "the image, half. First and middle layer, and the last of each stage; all are in results.csv. Intervals: 95 %, "
        "over images."
    )
    return Table("Effective receptive field of the central cell", columns, rows, note, columns[2:])


def _stage_ends(state: StateFound) -> list[int]:
    return [number for number, (one, after) in enumerate(pairwise(state.sees)) if one.stage != after.stage]


def _fields(found: Sequence[Found], pictures: Pictures) -> Iterator[Chart]:
    for number, one in enumerate(found, start=1):
        drawn = pictures.get(one.name, {})
        if not drawn:
            continue
        named = {_layered(name): np.sqrt(values) for name, values in drawn.items()}
        sizes = "; ".join(
            f"{state.name}: half within {words.pixels(state.sees[-1].size.half)} in the end" for state in one.states
        )
        yield Chart(
            f"field-{number}",
            charts.field(named, 3),
            f"Effective receptive field of the central cell of {one.name} after its layers. {sizes}.",
            f"{one.name}: square roots, so that weak parts are seen; each picture on a scale of its own.",
        )


def _layered(name: str) -> str:
    state, _, layer = name.rpartition(" ")
    return f"{state}, layer {layer}"
