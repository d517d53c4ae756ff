"""Each family goes the whole way: from data by its own rule to a report, an evaluation and predictions."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import vitrail
from vitrail.contracts import Batch
from vitrail.errors import TrainingError, UsageError
from vitrail.run import Run, evaluate, resume, start, teachers, training
from vitrail.settings import load
from vitrail.training import loop
from vitrail.training.checkpoint import newest_good
from vitrail.training.objective import Supervised

FOUR = (1, 1, 1, 1)
TINY: dict[str, dict[str, Any]] = {
    "vit_tiny": {"depth": 1, "width": 16, "heads": 2, "hidden": 16},
    "vit_tiny_patch16_224": {"depth": 1, "width": 16, "heads": 2, "hidden": 16},
    "deit_tiny_distilled": {"depth": 1, "width": 16, "heads": 2, "hidden": 16},
    "deit3_small": {"depth": 1, "width": 16, "heads": 2, "hidden": 16},
    "swin_tiny": {"depths": FOUR, "width": 8, "heads": FOUR},
    "swin_tiny_patch4_window7_224": {"depths": FOUR, "width": 8, "heads": FOUR},
    "swinv2_tiny": {"depths": FOUR, "width": 8, "heads": FOUR},
    "pvt_tiny": {"depths": FOUR, "widths": (8, 8, 16, 16), "heads": FOUR},
    "pvt_v2_b0": {"depths": FOUR, "widths": (8, 8, 16, 16), "heads": FOUR},
    "pvt_v2_b2_li": {"depths": FOUR, "widths": (8, 8, 16, 16), "heads": FOUR},
    "resnet18": {"depths": FOUR, "width": 8},
    "resnet50": {"depths": FOUR, "width": 4},
    "convnext_tiny": {"depths": FOUR, "width": 8},
    "timm:resnet10t": {"channels": (8, 8, 8, 8)},
    "timm:vit_tiny_patch16_224": {"depth": 1, "embed_dim": 16, "num_heads": 2},
}
ATTENDING = ("vit", "deit", "swin", "pvt")
"""How models begin that attend in a way that can be seen."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes that differ in colour, 24 PNGs each, of 16 pixels."""
    root = tmp_path / "photos"
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (root / label).mkdir(parents=True)
        for i in range(24):
            noise = np.random.default_rng(i).integers(-40, 40, (16, 16, 3))
            Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(root / label / f"{i}.png")
    return root


def _stated(data: str | Path, name: str, **more: Any) -> dict[str, Any]:
    options = {f"model.options.{key}": value for key, value in TINY[name].items()}
    small = {"train.epochs": 1, "train.batch_size": 8, "device": "cpu"}
    return {"data.source": str(data), "model.name": name, **options, **small, **more}


def _needs(name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="needs timm, whose model this is")


@pytest.mark.parametrize("name", TINY)
def test_a_family_goes_from_data_to_report(name: str, photos: Path, tmp_path: Path) -> None:
    _needs(name)
    run = start(_stated(photos, name), out=tmp_path / "run", quiet=True)
    assert run.status == "finished"
    assert set(run.metrics) == {"val", "test"}
    config = run.config
    assert config.model.image_size == 16
    reasons = {reason["field"]: reason["why"] for reason in run.data["reasons"]}
    assert len(reasons["model.patch_size"]) > 20

    metrics, _ = evaluate(run.folder, "test")
    assert metrics == pytest.approx(run.metrics["test"], abs=1e-6)
    rows = [
        r for r in csv.DictReader((run.folder / "predictions.csv").read_text().splitlines()) if r["split"] == "test"
    ]
    predictor = vitrail.load(run.folder)
    for answer, row in zip(predictor.predict([photos / row["path"] for row in rows]), rows, strict=True):
        assert answer.label == row["label"]
        assert answer.confidence == pytest.approx(float(row["confidence"]), abs=1e-4)

    page = (run.folder / "report.html").read_text()
    assert "No explanations: " not in page
    assert page.count('id="attention"') == 1
    assert (run.folder / "explain.html").exists()
    attends = name.startswith(ATTENDING)
    usual = "relevance" if name.startswith("pvt") else "rollout" if attends else "mean_ablation"
    assert predictor.explain(photos / rows[0]["path"]).method == usual
    if not attends:
        with pytest.raises(UsageError, match="attention") as refusal:
            predictor.explain(photos / rows[0]["path"], method="rollout")
        assert "methods that do: " in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["resnet18", "pvt_v2_b0", "swin_tiny_patch4_window7_224", "timm:resnet10t"])
def test_the_config_of_a_run_repeats_it(name: str, photos: Path, tmp_path: Path) -> None:
    _needs(name)
    first = start(_stated(photos, name), out=tmp_path / "a", quiet=True)
    second = start(load(first.folder / "args.yaml"), out=tmp_path / "b", quiet=True)
    assert second.config == first.config
    assert second.metrics == first.metrics
    ours, theirs = (load_file(run.folder / "model" / "last" / "model.safetensors") for run in (first, second))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_the_command_trains_a_cnn_on_digits_and_offers_to_explain_it(tmp_path: Path, capfd: Any) -> None:
    from vitrail.cli.main import main

    options = ["model.options.depths=[1,1,1,1]", "model.options.width=8"]
    command = ["train", "digits", "--model", "resnet18", "--epochs", "1", "--out", str(tmp_path / "run"), *options]
    assert main(command) == 0
    said = capfd.readouterr()
    assert "model.patch_size        = 1: 8 px under a stem of stride 1" in said.out + said.err
    assert "vitrail predict" in said.out + said.err
    assert "vitrail explain" in said.out + said.err
    Image.new("L", (8, 8)).save(tmp_path / "digit.png")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "digit.png")]) == 0
    said = capfd.readouterr()
    assert "digit.png,ok" in said.out
    assert "vitrail explain" in said.out + said.err


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("resnet18", {"model.patch_size": 16}, "1, 2 or 4"),
        ("resnet18", {"model.pooling": "cls"}, "pooling"),
        ("resnet18", {"train.batch_size": 1}, "leave one image alone"),
        ("resnet18", {"train.batch_size": 8, "train.accumulate": 8}, "8 micro-steps"),
        ("timm:resnet10t", {"model.patch_size": 2}, "fixed"),
        ("timm:resnet10t", {"model.name": "timm:resnet10"}, "timm:resnet10t"),
        ("timm:vit_tiny_patch16_224", {"model.image_size": 30, "model.patch_size": 4}, "not divisible"),
        ("vit_tiny_patch16_224", {"model.image_size": 30, "model.patch_size": 4}, "not divisible"),
    ],
)
def test_what_a_family_refuses_is_said_before_a_folder_is_made(
    name: str, wrong: dict[str, Any], words: str, photos: Path, tmp_path: Path
) -> None:
    _needs(name)
    with pytest.raises(UsageError, match=words):
        start(_stated(photos, name, **wrong), out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------ BatchNorm, honestly


def test_images_that_fail_do_not_enter_the_statistics(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that breaks after the audit: the model never sees the zeros in its place."""

    def then_break(*args: Any, **kwargs: Any) -> Any:
        data = divide(*args, **kwargs)
        (photos / data.source.items[int(data.split.train[0])].key).write_bytes(b"")
        return data

    seen: list[tuple[int, bool]] = []

    class Watched(Supervised):
        def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
            seen.append((len(batch.images), bool((batch.images.abs().sum(dim=(1, 2, 3)) == 0).any())))
            return super().__call__(model, batch)

    divide = training.divide
    monkeypatch.setattr(training, "divide", then_break)
    monkeypatch.setattr(teachers, "Supervised", Watched)
    stated = _stated(photos, "resnet18", **{"data.max_bad_fraction": 0.05, "augment.mixup": 0.5})
    run = start(stated, out=tmp_path / "run", quiet=True)
    assert len(run.record["failures"]) == 1
    assert {count for count, _ in seen} == {7, 8}
    assert not any(zeros for _, zeros in seen)


def test_a_run_that_is_stopped_for_what_is_not_finite_keeps_finite_statistics(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoiling(Supervised):
        calls = 0

        def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
            Spoiling.calls += 1
            if Spoiling.calls >= 6:
                batch.images[0, 0, 0, 0] = float("nan")
            return super().__call__(model, batch)

    monkeypatch.setattr(teachers, "Supervised", Spoiling)
    with pytest.raises(TrainingError, match="3 updates in a row were not finite"):
        start(_stated(photos, "resnet18", **{"train.epochs": 5, "train.ema": 0.9}), out=tmp_path / "run", quiet=True)
    folder, faults = newest_good(tmp_path / "run" / "checkpoints")
    assert faults == []
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert int(load_file(folder / "model.safetensors")["backbone.body.bn1.num_batches_tracked"]) == 5


class _Stopped(Exception):
    """Stands for the power going out."""


@pytest.mark.parametrize(("name", "update"), [("resnet18", 3), ("timm:resnet10t", 7), ("pvt_v2_b0", 7)])
def test_a_run_that_dies_and_is_resumed_ends_with_the_same_bits(
    name: str, update: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, running statistics, their average, the optimizer: dying in an update, after its forward pass."""
    _needs(name)
    more = {
        "train.epochs": 2, "train.ema": 0.9, "train.drop_path": 0.2, "train.checkpoint_seconds": 1e-9,
        "augment.mixup": 0.8, "threads": 1,
    }  # fmt: skip
    unbroken = start(_stated(photos, name, **more), out=tmp_path / "unbroken", quiet=True)
    real, calls = loop.Updater.update, 0

    def deadly(self: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == update:
            raise _Stopped
        return real(self, *args)

    monkeypatch.setattr(loop.Updater, "update", deadly)
    with pytest.raises(_Stopped):
        start(_stated(photos, name, **more), out=tmp_path / "broken", quiet=True)
    monkeypatch.setattr(loop.Updater, "update", real)
    broken = resume(tmp_path / "broken", quiet=True)
    ours, theirs = _everything(unbroken), _everything(broken)
    assert ours.keys() == theirs.keys()
    assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []
    if "resnet" in name:
        assert sum("running_var" in key for key in ours) > 20
    assert _losses(unbroken) == _losses(broken)


def _everything(run: Run) -> dict[str, torch.Tensor]:
    newest = max((run.folder / "checkpoints").glob("step-*"), key=lambda p: int(p.name.split("-")[1]))
    files = [*newest.glob("*.safetensors"), *(run.folder / "model").glob("*/model.safetensors")]
    return {f"{os.path.relpath(file, run.folder)}/{k}": v for file in files for k, v in load_file(file).items()}


def _losses(run: Run) -> list[float]:
    return [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
