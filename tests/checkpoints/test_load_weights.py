"""Every tensor is accounted for, or nothing is loaded."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vitrail
from vitrail import durable
from vitrail.errors import IntegrityError, UsageError


def _model(seed: int = 0, **options):
    return vitrail.create_model("vit_tiny", outputs=3, image_size=16, patch_size=8, depth=1, seed=seed, **options)


def test_all_tensors_come_back_and_are_counted(tmp_path: Path) -> None:
    model, other = _model(0), _model(1)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    report = vitrail.load_weights(other, tmp_path / "w.safetensors")
    assert set(report.loaded) == set(model.state_dict())
    assert report.parameters == sum(p.numel() for p in model.parameters())
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_a_partial_fit_loads_nothing_and_names_the_tensors(tmp_path: Path, fault: str) -> None:
    model, other = _model(0), _model(1)
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    if fault == "missing":
        del tensors["head.fc.bias"]
    elif fault == "extra":
        tensors["head.more"] = torch.zeros(2)
    else:
        tensors["head.fc.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "w.safetensors")
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(IntegrityError, match=r"head\.more" if fault == "extra" else r"head\.fc\.bias"):
        vitrail.load_weights(other, tmp_path / "w.safetensors")
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in before.items())


def test_a_file_is_not_taken_for_a_pickle_by_its_first_byte(tmp_path: Path) -> None:
    """A safetensors file begins with its header's length, which may be any byte, 0x80 of pickles included."""
    model = torch.nn.Linear(2, 2)
    path = tmp_path / "w.safetensors"
    for padding in range(256):
        save_file(model.state_dict(), path, metadata={"padding": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no padding gave the byte")
    assert set(vitrail.load_weights(model, path).loaded) == {"weight", "bias"}


def test_a_damaged_model_folder_is_refused_before_it_is_read(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        save_file(_model(0).state_dict(), folder / "model.safetensors")

    durable.commit(tmp_path / "best", fill)
    vitrail.load_weights(_model(1), tmp_path / "best")
    file = tmp_path / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        vitrail.load_weights(_model(1), tmp_path / "best")


class Bomb:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return (Path.touch, (self.sentinel,))


@pytest.mark.parametrize("kind", ["pickle", "torch", "garbage", "empty"])
def test_a_hostile_file_runs_no_code(tmp_path: Path, kind: str) -> None:
    sentinel, file = tmp_path / "ran", tmp_path / "model.safetensors"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Bomb(sentinel)))
    elif kind == "torch":
        torch.save({"weights": Bomb(sentinel)}, file)
    else:
        file.write_bytes(b"" if kind == "empty" else b"\xff" * 100)
    with pytest.raises(IntegrityError) as error:
        vitrail.load_weights(_model(), file)
    assert error.value.exit_code == 5
    assert not sentinel.exists()


def test_no_such_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights there"):
        vitrail.load_weights(_model(), tmp_path / "absent")
