"""A checkpoint is whole or not there, and the newest whole one is what a resume finds."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from vitrail.errors import IntegrityError
from vitrail.settings import TrainConfig
from vitrail.training import checkpoint
from vitrail.training.checkpoint import Progress
from vitrail.training.ema import Average
from vitrail.training.optimizer import Updater


def _trained(seed: int) -> tuple[nn.Module, Average, Updater]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    average, updater = Average(model, 0.9), Updater(model, TrainConfig())
    loss = model(torch.randn(4, 4)).square().sum()
    loss.backward()
    updater.update(1e-2, loss.detach(), torch.tensor(4.0))
    average.update(0)
    return model, average, updater


def _all(model: nn.Module, average: Average, updater: Updater) -> dict[str, torch.Tensor]:
    averaged = {f"average.{k}": v for k, v in average.model.state_dict().items()}
    return model.state_dict() | averaged | updater.tensors()


def test_everything_that_lives_comes_back_bit_for_bit(tmp_path: Path) -> None:
    parts = _trained(0)
    progress = Progress(
        step=7, loss_sum=0.1 + 0.2, history=[{"epoch": 1, "val/loss": 1 / 3}], best=0.5, failures={"a": "b"}
    )
    folder = checkpoint.save(tmp_path, progress, *parts, keep=2)
    fresh = _trained(1)
    assert checkpoint.load(folder, *fresh) == progress
    expected, got = _all(*parts), _all(*fresh)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[k], got[k]) for k in expected)


def test_only_the_newest_are_kept_and_never_fewer_than_asked(tmp_path: Path) -> None:
    parts = _trained(0)
    for step in (5, 9, 10, 100):
        checkpoint.save(tmp_path, Progress(step=step), *parts, keep=2)
    assert [p.name for p in checkpoint.listed(tmp_path)] == ["step-100", "step-10"]


@pytest.mark.parametrize("file", ["model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path, file: str, damage: str) -> None:
    parts = _trained(0)
    for step in (1, 2):
        checkpoint.save(tmp_path, Progress(step=step), *parts, keep=2)
    victim = tmp_path / "step-2" / file
    raw = bytearray(victim.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 4
        victim.write_bytes(raw)
    elif damage == "truncate":
        victim.write_bytes(raw[:-3])
    else:
        victim.unlink()
    folder, faults = checkpoint.newest_good(tmp_path)
    assert folder.name == "step-1"
    assert len(faults) == 1
    assert file in faults[0]
    shutil.rmtree(tmp_path / "step-1")
    with pytest.raises(IntegrityError, match=file):
        checkpoint.newest_good(tmp_path)


def test_no_checkpoint_at_all_says_so(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="no checkpoint"):
        checkpoint.newest_good(tmp_path / "checkpoints")


def test_a_checkpoint_of_another_model_is_refused_in_words(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, Progress(), *_trained(0), keep=2)
    other = nn.Linear(3, 3)
    with pytest.raises(IntegrityError, match="does not fit this run"):
        checkpoint.load(folder, other, Average(other, 0.9), Updater(other, TrainConfig()))


def test_a_state_with_other_fields_is_refused_in_words(tmp_path: Path) -> None:
    parts = _trained(0)
    folder = checkpoint.save(tmp_path, Progress(), *parts, keep=2)
    (folder / "state.json").write_text(json.dumps({"stepp": 3}))
    with pytest.raises(IntegrityError, match="does not fit this run"):
        checkpoint.load(folder, *parts)


def test_a_file_size_limit_destroys_nothing(tmp_path: Path) -> None:
    parts = _trained(0)
    good = checkpoint.save(tmp_path, Progress(step=1), *parts, keep=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(tmp_path, Progress(step=2), *parts, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.newest_good(tmp_path) == (good, [])
    assert [p.name for p in tmp_path.iterdir()] == ["step-1"]
