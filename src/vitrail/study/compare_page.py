"""The report of a comparison, and its tables as data."""

from __future__ import annotations

from pathlib import Path

from vitrail.report.study_tables import write_json
from vitrail.study.compare_results import Results, summary
from vitrail.study.compare_work import Work


def write(work: Work, found: Results) -> list[Path]:
    """results.csv, results.json, report.html and figures; their paths, the report first."""
    return [write_json(work.study.folder / "results.json", summary(found))]
