"""A whole run, small: what it writes, what it refuses, and that evaluate says what predict says."""

from __future__ import annotations

import csv
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_settings
import torch
from PIL import Image

import vitrail
from vitrail.errors import DataError, IntegrityError, TrainingError, UsageError
from vitrail.run import Run, evaluate, resume, start
from vitrail.training.checkpoint import newest_good
from vitrail.training.objective import Supervised

TINY: dict[str, Any] = {**tiny_settings.TINY, "train.epochs": 2}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes that differ in colour, 24 PNGs each, of odd sizes."""
    root = tmp_path / "photos"
    for label, colour in (("red ones", (200, 40, 40)), ("青い", (40, 40, 200))):
        (root / label).mkdir(parents=True)
        for i in range(24):
            rng = np.random.default_rng(i)
            noise = rng.integers(-40, 40, (20 + i % 7, 24 + i % 5, 3))
            Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(root / label / f"{i}.png")
    return root


def _start(data: Path, out: Path, **more: Any) -> Run:
    return start({"data.source": str(data), **TINY, **more}, out=out, quiet=True)


def test_a_run_folder_has_what_is_promised(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run")
    for name in (
        "args.yaml", "run.json", "data.json", "bad_files.csv", "results.csv", "metrics.jsonl", "predictions.csv",
        "per_class.csv", "report.html", "explain.html", "train.log", "model/best/config.json", "model/last/README.md",
    ):  # fmt: skip
        assert (run.folder / name).is_file(), name
    assert list((run.folder / "figures").glob("*.png"))
    assert set(run.metrics) == {"val", "test"}
    assert set(run.metrics["test"]) == {"loss", "accuracy", "f1_macro", "auroc", "ece"}
    header = (run.folder / "results.csv").read_text().splitlines()[0].split(",")
    assert header[:4] == ["epoch", "time", "train/loss", "val/loss"]
    assert header[-3:] == ["lr", "images_per_s", "memory_mb"]
    assert Run.open(run.folder).status == "finished"
    assert json.loads((run.folder / "data.json").read_text())["classes"] == ["red ones", "青い"]


def test_the_config_of_a_run_repeats_it(photos: Path, tmp_path: Path) -> None:
    from vitrail.settings import load

    first = _start(photos, tmp_path / "a")
    second = start(load(first.folder / "args.yaml"), out=tmp_path / "b", quiet=True)
    assert second.config == first.config
    assert second.metrics == first.metrics


def test_evaluate_says_what_predict_says(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run", **{"train.precision": "bf16"})
    metrics, _ = evaluate(run.folder, "test")
    assert metrics == pytest.approx(run.metrics["test"], abs=1e-6)
    rows = [
        r for r in csv.DictReader((run.folder / "predictions.csv").read_text().splitlines()) if r["split"] == "test"
    ]
    assert len(rows) == run.data["images"]["test"] > 5
    predictions = run.predictor().predict([photos / row["path"] for row in rows])
    assert [p.label for p in predictions] == [row["label"] for row in rows]
    for prediction, row in zip(predictions, rows, strict=True):
        assert prediction.confidence == pytest.approx(float(row["confidence"]), abs=1e-4)
    right = sum(row["label"] == row["target"] for row in rows) / len(rows)
    assert right == pytest.approx(run.metrics["test"]["accuracy"])


def test_data_that_changed_is_noticed(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run")
    Image.new("RGB", (20, 20), (3, 4, 5)).save(photos / "red ones" / "new.png")
    with pytest.raises(DataError, match="not those"):
        evaluate(run.folder, "test")


def test_a_split_that_is_not_there_is_said(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run", **{"data.test_fraction": 0.0})
    assert set(run.metrics) == {"val"}
    assert any("no test split" in warning for warning in run.warnings)
    with pytest.raises(DataError, match="no test split"):
        evaluate(run.folder, "test")


def test_a_finished_run_has_nothing_to_resume(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run")
    with pytest.raises(UsageError, match="finished"):
        resume(run.folder, quiet=True)


def test_too_many_bad_files_stop_before_training_and_are_listed(photos: Path, tmp_path: Path) -> None:
    (photos / "red ones" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(DataError, match=r"1 of 49 images") as error:
        _start(photos, tmp_path / "run")
    assert error.value.exit_code == 3
    assert "broken.png" in (tmp_path / "run" / "bad_files.csv").read_text()
    assert Run(tmp_path / "run").status == "failed"
    with pytest.raises(UsageError, match="stopped before training"):
        resume(tmp_path / "run", quiet=True)
    run = _start(photos, tmp_path / "more", **{"data.max_bad_fraction": 0.05})
    assert "broken.png" in (run.folder / "bad_files.csv").read_text()
    assert sum(run.data["images"].values()) == 48


def test_a_file_that_breaks_after_the_audit_is_left_out_and_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitrail.run import training

    def then_break(*args: Any, **kwargs: Any) -> Any:
        data = real(*args, **kwargs)
        victim = data.source.items[int(data.split.train[0])].key
        (photos / victim).write_bytes(b"")
        return data

    real = training.divide
    monkeypatch.setattr(training, "divide", then_break)
    run = _start(photos, tmp_path / "run", **{"data.max_bad_fraction": 0.05})
    failures = run.record["failures"]
    assert len(failures) == 1
    assert any(next(iter(failures)) in warning for warning in run.warnings)


class _Poison(Supervised):
    """An objective that turns to NaN after some steps."""

    calls = 0

    def forward(self, model: Any, batch: Any) -> torch.Tensor:
        self.calls += 1
        return super().forward(model, batch) * (float("nan") if self.calls >= 6 else 1.0)


def test_a_loss_that_is_not_finite_stops_the_run_with_finite_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitrail.run import teachers

    monkeypatch.setattr(teachers, "Supervised", _Poison)
    with pytest.raises(TrainingError, match="3 updates in a row were not finite") as error:
        _start(photos, tmp_path / "run", **{"train.epochs": 5})
    assert error.value.exit_code == 4
    folder, faults = newest_good(tmp_path / "run" / "checkpoints")
    assert faults == []
    from safetensors.torch import load_file

    for file in folder.glob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())
    log = (tmp_path / "run" / "train.log").read_text()
    assert ".png" in log.split("was refused")[1]
    refused = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum("refused" in line for line in refused) == 3


def test_a_full_disk_is_said_and_destroys_nothing(photos: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(TrainingError, match="cannot write to") as error:
            _start(photos, tmp_path / "run", **{"model.options.width": 64, "model.options.hidden": 128})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.exit_code == 4
    assert not [p for p in (tmp_path / "run").rglob("*") if ".tmp" in p.name]
    assert Run.open(tmp_path / "run").status == "failed"


def test_the_whole_disk_full_in_mid_run_keeps_the_last_good_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitrail import durable

    calls = 0
    real = durable.commit

    def full(folder: Path, fill: Any, uncovered: Any = ()) -> None:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise OSError(28, "No space left on device")
        real(folder, fill, uncovered)

    monkeypatch.setattr(durable, "commit", full)
    with pytest.raises(TrainingError, match="the disk is full"):
        _start(photos, tmp_path / "run", **{"train.epochs": 20})
    assert newest_good(tmp_path / "run" / "checkpoints")[1] == []
    monkeypatch.setattr(durable, "commit", real)
    assert resume(tmp_path / "run", quiet=True).status == "finished"


def test_resuming_a_run_with_one_damaged_checkpoint_goes_back_one(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run")
    run.mark("interrupted")
    newest = max((run.folder / "checkpoints").iterdir(), key=lambda p: int(p.name.split("-")[1]))
    raw = bytearray((newest / "model.safetensors").read_bytes())
    raw[-9] ^= 1
    (newest / "model.safetensors").write_bytes(raw)
    again = resume(run.folder, quiet=True)
    assert again.metrics == run.metrics
    assert any(newest.name in warning for warning in again.warnings)


def test_resuming_with_no_whole_checkpoint_is_refused(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run")
    run.mark("interrupted")
    for state in (run.folder / "checkpoints").glob("*/state.json"):
        state.write_text("{}")
    with pytest.raises(IntegrityError, match=r"state\.json"):
        resume(run.folder, quiet=True)


def test_any_dataset_and_any_backbone_from_python(tmp_path: Path) -> None:
    from vitrail.models import create_backbone

    class Squares:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> tuple[Image.Image, str]:
            colour = (250, 10, 10) if index % 2 else (10, 250, 10)
            return Image.new("RGB", (18, 18 + index % 3), colour), "red" if index % 2 else "green"

    backbone = create_backbone("vit_tiny", image_size=16, patch_size=8, depth=1, width=16, heads=2, hidden=32)
    run = vitrail.train(
        Squares(), backbone, out=tmp_path / "run", quiet=True, epochs=2, image_size=16, patch_size=8, batch_size=8,
        train__weight_decay=0.1,
    )  # fmt: skip
    assert run.config.train.weight_decay == 0.1
    assert run.config.model.name == "custom"
    picture = Image.new("RGB", (18, 18), (250, 10, 10))
    with pytest.raises(UsageError, match="backbone="):
        vitrail.load(run.folder)
    answer = vitrail.load(run.folder, backbone=backbone).predict([picture])[0]
    assert answer.label in {"red", "green"}
    with pytest.raises(UsageError, match="Backbone"):
        vitrail.train(Squares(), torch.nn.Linear(2, 2), out=tmp_path / "no", quiet=True)


def test_mistakes_are_found_before_a_folder_is_made(photos: Path, tmp_path: Path) -> None:
    for wrong, words in (
        ({"model.name": "vit_tinny"}, "vit_tiny"),
        ({"model.image_size": 17}, "not divisible"),
        ({"task.name": "clasify"}, "classify"),
        ({"train.batch_size": 999}, "999"),
        ({"train.accumulate": 3}, "multiple"),
        ({"recipe": "autto"}, "auto"),
        ({"model.options.dept": 3}, "depth"),
    ):
        with pytest.raises(UsageError, match=words):
            _start(photos, tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()


def test_early_stopping_ends_the_run_and_says_why(photos: Path, tmp_path: Path) -> None:
    run = _start(photos, tmp_path / "run", **{"train.epochs": 40, "train.early_stop": 1, "train.lr": 1e-8})
    assert "no better val accuracy" in run.record["reason"]
    assert len((run.folder / "results.csv").read_text().splitlines()) < 41
