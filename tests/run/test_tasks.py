"""Targets of every kind from the data to predictions: the task inferred and said, its truth beside its answers."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image
from tiny_settings import SHAPES, TINY

from vitrail.errors import DataError, UsageError
from vitrail.run import Run, evaluate, resume, start
from vitrail.settings import load
from vitrail.training.journal import Journal


def rows(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader((run.folder / "predictions.csv").read_text().splitlines()))


@pytest.mark.parametrize(
    ("target", "task", "columns"),
    [
        ("labels", "multilabel", ["labels", "scores", "target"]),
        ("count", "regress", ["count", "count_pred"]),
        ("count,angle", "regress", ["count", "count_pred", "angle", "angle_pred"]),
        ("mask", "segment", ["classes", "shares"]),
        ("depth", "depth", ["depth_mean", "depth_min", "depth_max"]),
    ],
)
def test_shapes_are_learned_for_every_task(tmp_path: Path, target: str, task: str, columns: list[str]) -> None:
    run = start({"data.source": "shapes", "data.target": target, **SHAPES}, out=tmp_path / "run", quiet=True)
    assert run.config.task.name == task
    assert run.data["reasons"][0]["field"] == "task.name"
    table = rows(run)
    assert list(table[0]) == ["path", "status", "reason", *columns, "split"]
    assert len(table) == run.data["images"]["val"] + run.data["images"]["test"] == 18
    assert all(row["status"] == "ok" for row in table)
    assert "warning" not in (run.folder / "train.log").read_text()
    metrics, _ = evaluate(run.folder, "test")
    assert metrics == pytest.approx(run.metrics["test"], abs=1e-6)


@pytest.mark.parametrize("target", ["labels", "count", "mask"])
def test_a_run_of_any_task_is_resumed_to_the_same_bits(tmp_path: Path, target: str) -> None:
    stated = {"data.source": "shapes", "data.target": target, **SHAPES, "train.epochs": 2}
    run = start(stated, out=tmp_path / "run", quiet=True)
    weights = (run.folder / "model" / "last" / "model.safetensors").read_bytes()
    run.mark("interrupted")
    newest = max((run.folder / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(newest)  # the one after the first epoch is left
    again = resume(run.folder, quiet=True)
    assert again.metrics == run.metrics
    assert (run.folder / "model" / "last" / "model.safetensors").read_bytes() == weights


def test_images_inside_a_parquet_file_are_learned_from_with_workers(tmp_path: Path) -> None:
    cells = []
    for i in range(40):
        file = io.BytesIO()
        Image.new("RGB", (18, 16), (6 * i, 100, 200 if i % 2 else 20)).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    parquet.write_table(pa.table({"image": cells, "kind": [["warm"], ["cold", "blue"]] * 20}), tmp_path / "t.parquet")
    stated = {"data.source": str(tmp_path / "t.parquet"), "data.workers": 1, **TINY}
    run = start(stated, out=tmp_path / "run", quiet=True)
    assert run.config.task.name == "multilabel"
    assert {row["target"] for row in rows(run)} == {"warm", "cold;blue"}
    assert all(row["status"] == "ok" for row in rows(run))


def test_answers_stand_beside_the_truth_in_its_own_units(tmp_path: Path) -> None:
    stated = {"data.source": "shapes", "data.target": "size", **SHAPES, "train.epochs": 2}
    run = start(stated, out=tmp_path / "run", quiet=True)
    test = [row for row in rows(run) if row["split"] == "test"]
    truth, said = (np.array([float(row[name]) for row in test]) for name in ("size", "size_pred"))
    assert ((truth > 0.03) & (truth < 0.0625)).all()
    assert np.abs(truth - said).mean() == pytest.approx(run.metrics["test"]["mae"], abs=1e-5)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """60 images as bright as they are said to be, in a table with two numbers, a weight and a patient."""
    lines = ["image,mass [kg],age,w,patient"]
    for i in range(60):
        Image.new("RGB", (18, 16), (4 * i, 4 * i, 100)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{4 * i / 255},{i % 7}.5,{0.5 + i % 3},p{i // 3}")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_of_numbers_is_learned_with_weights_and_groups_and_repeats(table: Path, tmp_path: Path) -> None:
    stated = {
        "data.source": str(table), "data.target": "mass [kg],age", "data.weight": "w", "data.group": "patient", **TINY,
    }  # fmt: skip
    run = start(stated, out=tmp_path / "run", quiet=True)
    assert run.config.data.target == "mass [kg],age"
    assert list(rows(run)[0]) == ["path", "status", "reason", "mass", "mass_pred", "age", "age_pred", "split"]
    splits: dict[str, set[str]] = {}
    for row in rows(run):
        splits.setdefault(f"p{int(row['path'].split('.')[0]) // 3}", set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert "training counts each image as much as 'w' says" in run.data["notes"]
    again = start(load(run.folder / "args.yaml"), out=tmp_path / "again", quiet=True)
    assert again.config == run.config
    assert again.metrics == run.metrics
    unweighted = start({**stated, "data.weight": None}, out=tmp_path / "plain", quiet=True)
    assert unweighted.metrics != run.metrics


def test_weights_weigh_the_loss_and_are_divided_out(
    monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
) -> None:
    """An update's loss is the weighted mean; all weights twice as large change no bit that matters."""
    from vitrail.training import optimizer

    seen: list[tuple[float, float]] = []
    real = optimizer.Updater.update

    def record(self: Any, lr: float, loss: torch.Tensor, weight: torch.Tensor) -> Any:
        seen.append((float(loss), float(weight)))
        return real(self, lr, loss, weight)

    monkeypatch.setattr(optimizer.Updater, "update", record)
    stated = {"data.source": str(table), "data.target": "age", "data.weight": "w", **TINY}
    first = start(stated, out=tmp_path / "a", quiet=True)
    text = table.read_text().replace("image,mass [kg],age,w", "image,mass [kg],age,v")
    header, *lines = text.splitlines()
    doubled = [f"{line},{2 * float(line.split(',')[3])}" for line in lines]
    table.write_text("\n".join([f"{header},w", *doubled]) + "\n")
    half = len(seen)
    second = start(stated, out=tmp_path / "b", quiet=True)
    assert [2 * weight for _, weight in seen[:half]] == [weight for _, weight in seen[half:]]
    assert {weight for _, weight in seen[:half]} != {8.0}
    for name, value in first.metrics["val"].items():
        assert second.metrics["val"][name] == pytest.approx(value, rel=1e-3)


def test_masks_beside_images_are_learned_and_an_image_without_one_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "instances"):
        (tmp_path / "cells" / folder).mkdir(parents=True)
    for i in range(40):
        objects = np.zeros((20, 24), np.uint16)
        for number in range(1, 4):
            top, left = rng.integers(0, 15), rng.integers(0, 19)
            objects[top : top + 4, left : left + 4] = number
        Image.fromarray(objects).save(tmp_path / "cells" / "instances" / f"{i}.png")
        Image.fromarray(((objects > 0) * 180).astype(np.uint8)).save(tmp_path / "cells" / "images" / f"{i}.png")
    (tmp_path / "cells" / "instances" / "7.png").unlink()
    with pytest.raises(DataError, match=r"1 of 40 images .*images/7.png: its target: no such file"):
        start({"data.source": str(tmp_path / "cells"), **TINY}, out=tmp_path / "refused", quiet=True)
    assert "images/7.png" in (tmp_path / "refused" / "bad_files.csv").read_text()
    stated = {"data.source": str(tmp_path / "cells"), "data.max_bad_fraction": 0.05, **TINY}
    run = start(stated, out=tmp_path / "run", quiet=True)
    assert run.config.task.foreground
    assert sum(run.data["images"].values()) == 39
    assert [r["value"] for r in run.data["reasons"] if r["field"] == "task.foreground"] == [True]
    assert set(rows(run)[0]) >= {"classes", "shares"}


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (
            {"data.target": "count", "task.foreground": True},
            "task.foreground is for segment: regress has no use for it",
        ),
        ({"data.target": "labels", "task.scale": 2.0}, "task.scale is for depth: multilabel has no use for it"),
        (
            {"data.target": "count", "task.class_weights": "balanced"},
            "task.class_weights is for classify, multilabel",
        ),
        ({"data.target": "mask", "augment.mixup": 0.2}, "augment.mixup=0.2: segment has no loss for mixed images"),
        ({"data.target": "count", "task.label_smoothing": 0.1}, "regress has no labels to smooth"),
        ({"data.target": "countt"}, "did you mean 'count'"),
        ({"task.name": "regress", "data.target": "class"}, None),
    ],
)
def test_what_a_task_cannot_obey_is_refused(tmp_path: Path, stated: dict[str, Any], says: str | None) -> None:
    kind = DataError if says is None else UsageError
    with pytest.raises(kind, match=says or "a number is expected, not 'c"):
        start({"data.source": "shapes", **SHAPES, **stated}, out=tmp_path / "run", quiet=True)


def test_the_task_is_said_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    from vitrail.data.builtin import ShapesSource
    from vitrail.run.prepare import settle_task

    stated, reasons = settle_task({"data.source": "shapes"}, ShapesSource(None, "count"), Journal())
    assert stated["task.name"] == "regress"
    assert "task: regress, since targets are numbers (--task chooses another)" in capsys.readouterr().err
    assert [(reason.field, reason.value) for reason in reasons] == [("task.name", "regress")]
