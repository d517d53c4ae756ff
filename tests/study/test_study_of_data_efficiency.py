"""A study of data efficiency as a user runs it: what it writes, that it goes on after a kill, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_compare import OPTIONS, TINY, few_digits

from vitrail.cli.main import main
from vitrail.data.sources import open_source
from vitrail.run import Run
from vitrail.settings import DataConfig
from vitrail.study.folder import Study

TAUGHT = f"""\
taught: {{model: deit_tiny_distilled, model.patch_size: 4, model.options.depth: 1, model.options.width: 8, {OPTIONS}}}
plain: {{model: vit_tiny, model.patch_size: 4, model.options.depth: 1, model.options.width: 24, {OPTIONS}}}
"""
PARTS = ("1/8", "1/4", "1/2", "1")


def words(folder: Path, *more: str) -> list[str]:
    """A command of a tiny model and another that learns from it."""
    path = folder / "models.yaml"
    path.write_text(TAUGHT)
    return [
        "study", "data-efficiency", "digits", "--models", str(path), "--teacher", "plain", *TINY, "--split-file",
        str(few_digits(folder)), "--rates", "1", "--fractions", ",".join(PARTS), "--seeds", "2", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert main([*words(folder, "--epochs", "1"), "--out", str(folder / "study")]) == 0
    return folder / "study"


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def found(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return told


def test_every_point_of_a_curve_leads_to_its_run_folders(whole: Path) -> None:
    rows = table(whole / "results.csv")
    assert [(row["model"], row["fraction"]) for row in rows] == [(m, f) for m in ("taught", "plain") for f in PARTS]
    for row in rows:
        cells = row["cells"].split()
        runs = [Run.open(whole / cell) for cell in cells]
        assert len(runs) == int(row["seeds"]) == 2
        assert {run.data["images"]["train"] for run in runs} == {int(row["images"])}
        mean = np.mean([run.metrics["test"]["accuracy"] for run in runs])
        assert float(row["score"]) == pytest.approx(mean, abs=1e-5)
        assert float(row["score_low"]) < mean < float(row["score_high"])
        assert f"./{cells[0]}/" in (whole / "report.html").read_text()


def test_parts_are_nested_and_the_smallest_has_every_class(whole: Path) -> None:
    source = open_source(DataConfig(source="digits"), "classify")
    target = {item.key: item.target for item in source.items}
    before: set[str] = set()
    for part in ("1_8", "1_4", "1_2"):
        rows = table(whole / "splits" / f"part-{part}-seed-1.csv")
        now = {row["path"] for row in rows if row["split"] == "train"}
        assert before < now
        assert len(Counter(target[key] for key in now)) == 10
        before = now


def test_a_distilled_model_learns_from_the_cnn_of_its_seed_and_its_part(whole: Path) -> None:
    for part in ("part-1_8", "part-1_2", "full"):
        for seed in (0, 1):
            run = Run.open(whole / "cells" / f"taught-{part}-seed-{seed}")
            assert Path(str(run.config.distill.teacher)).name == f"plain-{part}-seed-{seed}"


def test_the_page_says_first_who_leads_and_then_what_more_would_bring(whole: Path) -> None:
    page, said = (whole / "report.html").read_text(), found(whole)["said"]
    assert said[0].startswith("With 20 training images")
    assert said[1].startswith("With all 160 training images")
    assert any("twice the images" in sentence for sentence in said)
    assert "The forecasts could not be checked: hiding the largest size needs five sizes or more." in said
    assert page.index(said[0][:22]) < page.index('id="curves"')
    for anchor in ("curves", "leads", "training", "method", "limits", "traces"):
        assert f'id="{anchor}"' in page
    assert (whole / "figures" / "curves.png").is_file()
    assert "40 test images are few" in page


def test_a_kill_loses_the_cell_in_flight_alone(whole: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "vitrail", *words(tmp_path, "--epochs", "1"), "--out", str(killed)],
        stderr=subprocess.DEVNULL,
    )
    third = killed / "cells" / "plain-part-1_4-seed-0" / "run.json"
    while not third.is_file():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    record = Study.open(killed, "data-efficiency").record
    before = {name: cell["seconds"] for name, cell in record["cells"].items() if cell["state"] == "finished"}
    assert set(before) == {"plain-part-1_8-seed-0", "taught-part-1_8-seed-0"}
    assert main(["study", "data-efficiency", "--resume", str(killed)]) == 0
    after = Study.open(killed, "data-efficiency")
    assert {name: after.record["cells"][name]["seconds"] for name in before} == before
    assert after.state == "finished"
    for label, curve in found(whole)["curves"].items():
        assert found(killed)["curves"][label]["scores"] == curve["scores"]
        assert found(killed)["curves"][label]["law"] == curve["law"]


def test_a_dry_run_says_what_it_would_train_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = words(tmp_path, "--epochs", "2", "--dry-run", "--json")
    place = tmp_path / "empty"
    place.mkdir()
    monkeypatch.chdir(place)
    assert main(told) == 0
    assert list(place.iterdir()) == []
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["models"]["plain"]["parts"] == ["1/8", "1/4", "1/2"]
    assert plan["models"]["plain"]["part_seeds"] == plan["models"]["plain"]["full_runs"] == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--fractions", "1/128,1/4,1/2,1"], "and 1/128 of them is none: give parts of 1/"),
        (["--fractions", "half,1"], "give parts such as 1/8,1/4,1/2"),
        (["--fractions", "none"], "leaves nothing to study"),
        (["--seeds", "1"], "--seeds 1 says nothing of what another training"),
        (["--time", "1s"], "is too little here"),
        (["--time", "1m", "--epochs", "2"], "leave one out"),
        (["--fractions", "1/2,1"], "a learning curve needs 4 sizes"),
        (["--models", "vit_tinny"], "vit_tiny"),
        (["--name", "a", "--out", "b"], "leave one out"),
        (["data.source=shapes"], "DATA says which data"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    more: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = words(tmp_path)
    told = told[: told.index("--teacher")] + told[told.index("--teacher") + 2 :]
    assert main([*told, *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_what_is_asked_beside_resume_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "data-efficiency", "digits", "--resume", str(tmp_path)]) == 2
    assert "leave out digits" in capsys.readouterr().err
    assert main(["study", "data-efficiency", "--resume", str(tmp_path)]) == 2
    assert "it has no study.json" in capsys.readouterr().err
