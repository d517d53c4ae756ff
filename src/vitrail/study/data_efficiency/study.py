"""`vitrail study data-efficiency`: several models on growing parts of the same images: who leads where, and how far."""

from __future__ import annotations

import time as clock
from pathlib import Path

from vitrail.contracts import Source
from vitrail.report.study_tables import plain
from vitrail.settings import Stated
from vitrail.study.compare_asked import Wishes
from vitrail.study.compare_plan import lines
from vitrail.study.course import Course, Prepared, Studied, planned
from vitrail.study.data_efficiency import page, words
from vitrail.study.data_efficiency.asked import AskedOfParts, settle
from vitrail.study.data_efficiency.results import Results, results, summary
from vitrail.study.data_efficiency.work import WorkOnParts
from vitrail.study.entries import read_entries
from vitrail.study.ground import prepare
from vitrail.training.journal import Journal

KIND = page.KIND


def prepared(
    data: str | Path, models: str, wishes: Wishes, stated: Stated, teacher: str | None, journal: Journal, *,
    source: Source | None = None, out: Path | None = None, began: float | None = None,
) -> Prepared:  # fmt: skip
    """Read the data, choose settings, try how fast each model trains, and share the time; nothing is written.

    began: a reading of time.monotonic() from which --time counts.
    """
    began = clock.monotonic() if began is None else began
    wishes.check()
    ground = prepare(data, read_entries(models, teacher, least=1), stated, journal, source)
    made = planned(settle(ground, wishes), ground, journal, out, began)
    lines(made.asked, made.plan, made.paces, journal.say)
    return made


def _told(work: WorkOnParts, found: Results, warnings: tuple[str, ...], outputs: tuple[Path, ...]) -> Studied:
    said = tuple(words.verdict(found))
    return Studied(work.study.folder, work.asked.data, said, plain(summary(found, said)), warnings, outputs)


COURSE = Course(KIND, AskedOfParts.of, WorkOnParts, results, page.write, _told)
