"""check.html: what an audit found, on one page, in one file that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrail.data.findings.finding import Example, Finding, named
from vitrail.data.findings.survey import Survey
from vitrail.data.maps import read_map
from vitrail.errors import BadImage, DataError
from vitrail.explain import page
from vitrail.report import frame, inventory

MOST_CASES = 6
"""Cases of a finding that are shown as pictures."""

MOST_IN_CASE = 4
"""Pictures of one case; of more files the names stand under `all of them`."""

MOST_NAMED = 100
"""Cases of a finding that are named on the page; check.json has them all."""

MOST_FILES = 20
"""Files of one case that are named."""

MOST_PIXELS = 25_000_000
"""Larger images than so many pixels are named, not shown: the page is made in this process."""

_HUES = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (240, 228, 66))
"""Okabe and Ito's colours, which colour-blind people can tell apart, for the classes of a mask."""


@dataclass(frozen=True)
class Shown:
    """A case with its pictures: (file, what is particular to it, picture) each, and how many more files it has."""

    words: str
    pictures: list[tuple[str, str, Image.Image]]
    more: int


@dataclass(frozen=True)
class Card:
    """A finding with what is shown of it."""

    finding: Finding
    cases: list[Shown]
    named: list[tuple[str, str]]
    left_out: int


def write_check(
    path: Path, survey: Survey, findings: list[Finding], record: Mapping[str, Any], split: Mapping[str, Any],
    read_as: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write the page. record, split: of `findings.record` and `data.split`.  read_as: what was guessed, and the task.

    Raises TrainingError where the disk refuses.
    """
    taken = inventory.take({**record, "findings": ()}, split)
    html = (
        frame.environment()
        .get_template("check.html.j2")
        .render(
            name=survey.source.name,
            subtitle=survey.source.location,
            contents=[*([("findings", "What to fix first")] if findings else []), ("data", "The data")],
            problems=survey.problems,
            read_as=read_as,
            cards=[_card(survey, finding) for finding in findings],
            totals={
                severity: sum(f.severity == severity for f in findings) for severity in ("error", "warning", "note")
            },
            inventory=taken,
            normalisation=inventory.normalisation(record.get("statistics", {})),
            version=version("vitrail"),
            found=survey.trained.found,
            usable=len(survey.trained.usable),
        )
    )
    return page.write(path, html)


def _card(survey: Survey, finding: Finding) -> Card:
    cases = [_shown(survey, finding, example) for example in finding.cases[:MOST_CASES]]
    cases_named = [(named(finding.kind, case.keys, MOST_FILES), case.words) for case in finding.cases[:MOST_NAMED]]
    return Card(finding, [case for case in cases if case.pictures], cases_named, len(finding.cases) - len(cases_named))


def _shown(survey: Survey, finding: Finding, case: Example) -> Shown:
    pictures = []
    for index, key in list(zip(case.indices, case.keys, strict=False))[:MOST_IN_CASE]:
        if index in survey.usable:
            pictures += [(key, words, image) for words, image in _pictures(survey, finding, index)]
    return Shown(case.words, pictures, max(0, len(case.indices) - MOST_IN_CASE) if pictures else 0)


def _pictures(survey: Survey, finding: Finding, index: int) -> Iterator[tuple[str, Image.Image]]:
    """The image, with its mask beside it where the finding is of masks."""
    width, height = survey.audit.sizes[_row(survey, index)]
    if width * height > MOST_PIXELS:
        return
    try:
        pixels = survey.source.read(index, 3)
    except BadImage:
        return
    label = ", ".join(survey.labels[index]) if survey.kind in ("class", "labels") else ""
    split = survey.splits[index]
    yield " · ".join(word for word in (label, split) if word), Image.fromarray(pixels)
    if "mask" in finding.kind or "map" in finding.kind:
        mask = _mask(survey, index)
        if mask is not None:
            yield "its target", mask


def _row(survey: Survey, index: int) -> int:
    return int(np.searchsorted(np.array(survey.audit.usable), index))


def _mask(survey: Survey, index: int) -> Image.Image | None:
    """A mask as a picture: a colour for each of few whole values, else grey from the least to the largest."""
    facts = survey.maps.facts.get(index) if survey.maps is not None else None
    if facts is None or facts.reason or facts.width * facts.height > MOST_PIXELS:
        return None
    try:
        values = read_map(survey.source.items[index].target)
    except (BadImage, DataError):  # changed since it was checked
        return None
    values = values[0] if values.ndim == 3 else values  # (h, w)
    if facts.values is not None and facts.values.counts and len(facts.values.counts) <= len(_HUES) * 2:
        drawn = np.zeros((*values.shape, 3), np.uint8)  # (h, w, 3)
        for place, (value, _) in enumerate(facts.values.counts):
            drawn[values == value] = (0, 0, 0) if value == 0 else _HUES[place % len(_HUES)]
        return Image.fromarray(drawn)
    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
    grey = np.where(known, (np.where(known, values, low) - low) / ((high - low) or 1), 0)
    return Image.fromarray((255 * grey).astype(np.uint8))
