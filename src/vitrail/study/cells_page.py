"""What pages of studies that train cells have in common: where figures come from, and what to know before use."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

import yaml

from vitrail.report.study_page import Part, StudyPage, Trace
from vitrail.study.compare_work import Work
from vitrail.study.folder import CELLS
from vitrail.study.statistics.words import listed

FEW_TESTED = 200
"""Test images below which intervals are wide enough to be said."""


def page(
    work: Work, subtitle: str, verdict: Sequence[str], cautions: Sequence[str], parts: Iterable[Part],
    method: Sequence[str], limits: Sequence[str],
) -> StudyPage:  # fmt: skip
    """The report of a study: what it says, and around that what every study has."""
    record = work.study.record
    return StudyPage(
        kind=work.study.kind,
        name=work.ground.known.source.name,
        subtitle=subtitle,
        verdict=verdict,
        cautions=cautions,
        parts=list(parts),
        method=method,
        limits=limits,
        traces=list(_traces(work)),
        command=shlex.join(record["command"]),
        versions=record["versions"],
        settings=yaml.safe_dump(work.study.specification, sort_keys=False, allow_unicode=True),
    )


def _traces(work: Work) -> Iterator[Trace]:
    """Every cell, with its run folder where it left one."""
    for done in work.all_done():
        name = done.cell.name
        folder = f"{CELLS}/{name}" if work.study.cell(name).is_dir() else ""
        yield Trace(name, folder, done.cell.what, done.state)


def chosen(work: Work) -> list[str]:
    """What was chosen where nobody said, and what was left out for want of time."""
    return [*work.asked.why, *(f"Too little time was left for {what}: left out." for what in work.dropped)]


def of_images(split: str, images: int, unit: str, lost: int, what: str = "score") -> list[str]:
    """What the images leave open that were tested. unit: what is drawn of them.  lost: that some run could not judge.

    what: is measured, "score" or "error".
    """
    said = []
    if split == "val":
        said.append(f"The data has no test split: {what}s are validation's, which also chose the best epochs.")
    if images < FEW_TESTED:
        said.append(f"{images} {unit} are few: intervals are wide.")
    if lost:
        said.append(f"{lost} {split} images could not be judged by every run and are in no {what}.")
    return said


def of_short(work: Work, labels: Iterable[str]) -> list[str]:
    """Which of these models trained for so short a time that the order may be another."""
    short = [label for label in labels if work.plan.epochs[label] < 0.5 * work.paces[label].recipe]
    if not short:
        return []
    return [
        f"{listed(short)} trained for less than half of the epochs that the recipe would take: with more time the"
        " order may be another."
    ]
