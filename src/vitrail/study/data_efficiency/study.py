"""`vitrail study data-efficiency`: several models on growing parts of the same images: who leads where, and how far."""

from __future__ import annotations

from pathlib import Path

from vitrail.report.study_tables import plain
from vitrail.study.course import CourseOfModels, Studied
from vitrail.study.data_efficiency import page, words
from vitrail.study.data_efficiency.asked import AskedOfParts, settle
from vitrail.study.data_efficiency.results import Results, results, summary
from vitrail.study.data_efficiency.work import WorkOnParts

KIND = page.KIND


def _told(work: WorkOnParts, found: Results, warnings: tuple[str, ...], outputs: tuple[Path, ...]) -> Studied:
    said = tuple(words.verdict(found))
    return Studied(work.study.folder, work.asked.data, said, plain(summary(found, said)), warnings, outputs)


COURSE = CourseOfModels(KIND, AskedOfParts.of, WorkOnParts, results, page.write, _told, settle, least=1)
