"""Samples that fail after the audit: warned of, counted against the limit, in run.json, the report and no score."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_settings import TINY

from vitrail.cli.main import main
from vitrail.errors import DataError, TrainingError
from vitrail.run import Run, start, training


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """48 photos of two classes: 32 to train on, 8 to choose by, 8 to judge by."""
    draws = np.random.default_rng(0)
    for split, count in {"train": 16, "val": 4, "test": 4}.items():
        for name, shade in (("dark", 0), ("light", 120)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = (shade + draws.integers(0, 120, (18, 20, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "photos"


def spoil_when(monkeypatch: pytest.MonkeyPatch, moment: str, *files: Path) -> None:
    """Cut these files off when `run.training` calls what is named: after its audit has found them good."""
    real: Callable[..., Any] = getattr(training, moment)

    def cut(*args: Any, **kwargs: Any) -> Any:
        for file in files:
            file.write_bytes(file.read_bytes()[:200])
        return real(*args, **kwargs)

    monkeypatch.setattr(training, moment, cut)


def run_on(photos: Path, out: Path, **stated: Any) -> Run:
    return start({"data.source": str(photos), **TINY, **stated}, out=out, quiet=True)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_what_fails_late_is_named_everywhere_and_every_count_adds_up(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ["test/dark/1.png", "val/light/2.png"]
    whole = {name: (photos / name).read_bytes() for name in lost}
    spoil_when(monkeypatch, "choose_settings", *(photos / name for name in lost))
    run = run_on(photos, tmp_path / "run", **{"data.max_bad_fraction": 0.1})
    monkeypatch.undo()

    reason = "truncated: the file ends before the image does"
    assert run.record["failures"] == dict.fromkeys(lost, reason)
    assert {row["path"]: row["reason"] for row in rows(run.folder / "bad_files.csv")} == dict.fromkeys(lost, reason)
    table = rows(run.folder / "predictions.csv")
    assert [row["path"] for row in table if row["status"] == "failed"] == lost[::-1]  # val comes first
    assert len(table) == 16
    assert f"left out of every score: val/light/2.png: {reason}" in run.warnings
    assert f"1 of 8 test images could not be used and are in no score: test/dark/1.png: {reason}" in run.warnings
    assert "images, 1 could not be used)" in (run.folder / "train.log").read_text()
    page = (run.folder / "report.html").read_text()
    shown = {"images found": 48, "usable": 46, "unusable, left out": 2, "to train on (train)": 32}
    for words, count in {**shown, "to choose by (val)": 7, "to judge by (test)": 7}.items():
        assert f"<b>{count}</b>{words}" in page

    for name, content in whole.items():
        (photos / name).write_bytes(content)
    spoil_when(monkeypatch, "load_artifact", photos / lost[0])
    capsys.readouterr()
    assert main(["evaluate", str(run.folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["warnings"] == [f"1 of 8 test images could not be used and are in no score: {lost[0]}: {reason}"]
    assert told["metrics"]["test"] == pytest.approx(run.metrics["test"], abs=1e-6)


def test_more_than_is_allowed_ends_the_run_and_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    bad = photos / "test" / "dark" / "1.png"
    whole = bad.read_bytes()
    spoil_when(monkeypatch, "choose_settings", bad)
    with pytest.raises(DataError, match=r"1 of 48 images \(2\.1%\) cannot be used, more than the 1\.0% allowed"):
        run_on(photos, tmp_path / "run")
    monkeypatch.undo()
    run = Run.open(tmp_path / "run")
    assert run.status == "failed"
    assert list(run.record["failures"]) == ["test/dark/1.png"]
    assert not (run.folder / "report.html").exists()
    assert [row["status"] for row in rows(run.folder / "predictions.csv")].count("failed") == 1

    bad.write_bytes(whole)  # the disk is back: the run goes on to its report
    assert training.resume(run.folder, quiet=True).record["failures"] == {}
    spoil_when(monkeypatch, "load_artifact", bad)
    with pytest.raises(DataError, match="1 of 48 images"):
        training.evaluate(run.folder, "test")
    assert [row["status"] for row in rows(run.folder / "predictions_test.csv")].count("failed") == 1


def test_validation_images_that_fail_are_counted_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    (photos / "train" / "dark" / "0.png").write_bytes(b"bad from the beginning")
    spoil_when(monkeypatch, "choose_settings", photos / "val" / "dark" / "0.png")
    with pytest.raises(TrainingError, match=r"1 images failed after the audit.*val/dark/0\.png: truncated"):
        run_on(photos, tmp_path / "run", **{"data.max_bad_fraction": 0.03})  # one of 48, which the audit has found
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == ""
