"""Whole runs with `--time`: the trial leaves no trace, and the run is the one whose epochs were stated."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import vitrail
from vitrail.errors import UsageError
from vitrail.run import Run, kept, timing, training
from vitrail.settings import Config
from vitrail.training.trial import measure

SMALL: dict[str, Any] = {
    "image_size": 8,
    "patch_size": 4,
    "model__options__depth": 1,
    "model__options__width": 8,
    "model__options__heads": 2,
    "model__options__hidden": 16,
    "batch_size": 8,
    "augment__mixup": 0.5,
    "train__ema": 0.9,
    "device": "cpu",
    "threads": 1,
}


class Shades:
    """Noise, dark or bright."""

    classes = ("dark", "bright")

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        noise = np.random.default_rng(index).integers(0, 128, (9, 8, 3))
        return (noise + 100 * (index % 2)).astype(np.uint8), index % 2


def trained(out: Path, model: Any = "vit_tiny", **fields: Any) -> vitrail.Run:
    own = (
        SMALL
        if isinstance(model, str)
        else {k: v for k, v in SMALL.items() if not k.startswith(("model", "patch", "image"))}
    )
    return vitrail.train(Shades(), model, name="shades", out=out, quiet=True, **own, **fields)


@pytest.fixture(autouse=True)
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten minutes, a trial would take twenty seconds."""
    monkeypatch.setattr(timing, "TRIAL_SECONDS", 0.2)


def tensors(run: vitrail.Run) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(run.folder.glob("**/*.safetensors")):
        found |= {f"{path.relative_to(run.folder)}:{name}": value for name, value in load_file(path).items()}
    return found


def test_a_timed_run_has_the_bits_of_one_whose_epochs_were_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "fitting", lambda deadline, part, teacher: (1.5, None))
    timed, stated = trained(tmp_path / "timed", time="10m"), trained(tmp_path / "stated", epochs=1.5)
    assert timed.config == stated.config
    assert timed.config.train.epochs == 1.5
    got, expected = tensors(timed), tensors(stated)
    assert got.keys() == expected.keys() != set()
    assert [name for name in expected if not torch.equal(got[name], expected[name])] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stated", "timed"]  # the trial's folder is gone


def test_a_real_trial_chooses_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST", 3)  # ten minutes would be thousands of epochs
    run = trained(tmp_path / "run", time="10m")
    assert run.config.train.epochs == 3
    reasons = {r["field"]: r["why"] for r in run.data["reasons"]}
    assert reasons["train.epochs"].startswith("as many as fit into 10m, at ")
    assert "3 epochs" in reasons["augment.mixup"] or reasons["augment.mixup"] == "as stated"
    assert run.record["time"]["asked"] == 600
    assert 0 < run.record["time"]["gone"] < 600
    assert run.record["time"]["took"] > run.record["time"]["gone"]
    assert re.search(r"Time that was asked for</\w+>\s*<\w+>10 min 00 s", (run.folder / "report.html").read_text())
    assert "in all, 10 min 00 s were asked for" in (run.folder / "train.log").read_text()


def test_a_backbone_from_python_is_tried_on_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "fitting", lambda deadline, part, teacher: (1, None))
    made = vitrail.create_model(
        "vit_tiny", task="classify", outputs=2, image_size=8, patch_size=4, depth=1, width=8, heads=2, hidden=16
    )
    backbone = made.backbone
    assert isinstance(backbone, nn.Module)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    same = []

    def measured(*args: Any) -> Any:
        speed = measure(*args)
        same.append(all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items()))
        return speed

    monkeypatch.setattr(timing, "measure", measured)
    trained(tmp_path / "run", backbone, time=600)
    assert same == [True]


def test_too_little_time_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--time 0\.\d+s is over before training could begin"):
        trained(tmp_path / "run", time=0.001)
    with pytest.raises(UsageError, match=r"--time 2s is too little here: .* at least --time "):
        trained(tmp_path / "run", time="2s")
    assert list(tmp_path.iterdir()) == []


def test_a_time_beside_epochs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--time and --epochs both say how long"):
        trained(tmp_path / "run", time="10m", epochs=3)
    with pytest.raises(UsageError, match=r"--time and distill\.teacher_epochs both say how long"):
        trained(tmp_path / "run", time="10m", teacher="auto", distill__teacher_epochs=3)
    with pytest.raises(UsageError, match="write 1h30m, 10m, 90s"):
        trained(tmp_path / "run", time="soon")


class Enough(Exception):
    """The run is not of interest any more."""


def test_a_teacher_that_is_trained_first_has_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fitting(deadline: timing.Deadline, part: timing.Part, teacher: timing.Part) -> tuple[float, float]:
        assert replace(teacher.work, explaining=0.0) == replace(part.work, explaining=0.0)
        assert min(teacher.work.explaining, part.work.explaining) > 0, "measured, each on its own model"
        assert min(teacher.speed.image, part.speed.image) > 0
        return 1.5, 0.75

    def go(run: vitrail.Run, config: Config, reasons: Any, *rest: Any, **more: Any) -> None:
        raise Enough(config, reasons)

    monkeypatch.setattr(timing, "fitting", fitting)
    monkeypatch.setattr(training, "_go", go)
    with pytest.raises(Enough) as stopped:
        trained(tmp_path / "run", time="20m", teacher="auto")
    config, reasons = stopped.value.args
    assert (config.train.epochs, config.distill.teacher_epochs) == (1.5, 0.75)
    assert "at most 30% of the time" in {r.field: r.why for r in reasons}["distill.teacher_epochs"]
    assert Run.open(tmp_path / "run" / "teacher").config.train.epochs == 0.75


@pytest.mark.parametrize("teacher", [{}, {"teacher": "auto"}], ids=["alone", "after its teacher"])
def test_images_are_decoded_once_for_the_trial_the_teacher_and_the_run(
    teacher: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    real = kept.ImageStore

    def counted(*given: Any) -> Any:
        read.append(len(given[1]))
        return real(*given)

    monkeypatch.setattr(kept, "ImageStore", counted)
    monkeypatch.setattr(timing, "fitting", lambda deadline, part, first: (0.5, 0.5 if first is not None else None))
    run = trained(tmp_path / "run", time="10m", data__batched=True, **teacher)
    assert run.status == "finished"
    assert read == [run.data["images"]["train"]]
