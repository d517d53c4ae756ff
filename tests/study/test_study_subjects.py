"""Which models a study of invariance or reach is of, and what they are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vitrail.errors import UsageError
from vitrail.report.numbers import share
from vitrail.run import Run
from vitrail.study.subjects import open_subjects
from vitrail.training.journal import Journal


def test_folders_with_the_same_last_name_are_told_apart(shapes_run: Run, tmp_path: Path) -> None:
    for parent in ("monday", "tuesday"):
        shutil.copytree(shapes_run.folder, tmp_path / parent / "run")
    given = [str(tmp_path / "monday" / "run"), "vit_tiny", str(tmp_path / "tuesday" / "run" / "model" / "best")]
    subjects, _, _, _ = open_subjects(given, None, Journal(quiet=True))
    assert [subject.name for subject in subjects] == ["monday/run", "vit_tiny", "tuesday/run"]
    reached = shapes_run.metrics["test"]["accuracy"]
    assert [subject.score for subject in subjects] == [f"accuracy {share(reached)}", "", ""]
    with pytest.raises(UsageError, match=r"stands twice among the models: leave one out"):
        open_subjects([given[0], str(tmp_path / "monday" / ".." / "monday" / "run")], None, Journal(quiet=True))
