"""Whole runs that hold weights fixed or share out their rate: what they leave, and that a broken one ends the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vitrail
from vitrail.data.dataset import DatasetSource
from vitrail.errors import UsageError
from vitrail.layers.block import DropPath
from vitrail.run import finish, resume, start
from vitrail.run.prepare import check_model
from vitrail.training.optimizer import Updater
from vitrail.training.recipes import Pretrained

EPOCHS, STEPS, BREAK = 2, 10, 7
"""An epoch is 5 updates; a broken run has the checkpoint of the first, and is broken in its 7th update."""
STATED: dict[str, Any] = {
    "data.source": "drawn",
    "data.val_fraction": 0.25,
    "data.test_fraction": 0.0,
    "model.image_size": 8,
    "model.patch_size": 4,
    "model.options.depth": 2,
    "model.options.width": 8,
    "model.options.heads": 2,
    "model.options.hidden": 16,
    "train.epochs": EPOCHS,
    "train.batch_size": 8,
    "train.ema": 0.9,
    "train.drop_path": 0.2,
    "device": "cpu",
    "threads": 1,
}


class Drawn:
    """Noise with a class that can be learned: bright or dark."""

    classes = ("dark", "bright")

    def __len__(self) -> int:
        return 52

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        rng, label = np.random.default_rng(index), index % 2
        return (rng.integers(0, 128, (9, 8, 3)) + 100 * label).astype(np.uint8), label


def _source() -> DatasetSource:
    return DatasetSource(Drawn(), "drawn")


def _train(folder: Path, **stated: Any) -> Path:
    start(
        {**STATED, **{key.replace("__", "."): value for key, value in stated.items()}},
        out=folder,
        source=_source(),
        quiet=True,
    )
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "finish", _no_report)
        return _train(tmp_path_factory.mktemp("before") / "run")


def _no_report(*_: Any) -> None:
    """Where only weights are looked at."""


def _model(folder: Path, which: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / which / "model.safetensors")


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "checkpoints" / f"step-{STEPS}").glob("*.safetensors")) + [
        folder / "model" / which / "model.safetensors" for which in ("best", "last")
    ]
    return {
        f"{path.parent.name}/{path.stem}:{name}": value for path in files for name, value in load_file(path).items()
    }


KINDS: dict[str, dict[str, Any]] = {
    "probe": {"train__freeze": "backbone"},
    "lora": {"train__lora_rank": 2, "train__lora_alpha": 4.0},
    "lamb": {"train__optimizer": "lamb", "train__layer_decay": 0.7},
    "sgd": {"train__optimizer": "sgd", "train__layer_decay": 0.7, "train__lr": 0.05},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_what_it_should_and_one_that_broke_ends_the_same(
    kind: str, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {"model__weights": str(before), **KINDS[kind]}
    dropping: list[bool] = []
    drop = DropPath.forward
    with monkeypatch.context() as patch:
        patch.setattr(DropPath, "forward", lambda self, x: dropping.append(self.training) or drop(self, x))
        whole = _train(tmp_path / "whole", **stated)
    assert any(dropping) == (kind != "probe")  # a frozen backbone is evaluated, not trained
    learned, source = _model(whole, "last"), _model(before, "best")
    assert learned.keys() == source.keys()  # plain weights, whatever learned
    changed = {name for name, value in learned.items() if not torch.equal(value, source[name])}
    if kind == "probe":
        assert changed == {"head.fc.weight", "head.fc.bias"}
    elif kind == "lora":
        linear = {
            f"backbone.encoder.{i}.{part}.weight"
            for i in (0, 1)
            for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        }
        assert changed == {*linear, "head.fc.weight", "head.fc.bias"}
        # A and B of 8-24, 8-8, 8-16 and 16-8 in two blocks, and a head from 8 to 2
        learns = 2 * 2 * ((8 + 24) + (8 + 8) + (8 + 16) + (16 + 8)) + 8 * 2 + 2
        assert f"{learns:,} of " in (whole / "train.log").read_text()
    else:
        assert changed == set(learned)
    assert vitrail.load(whole).predict([np.zeros((9, 8, 3), np.uint8)])[0].status == "ok"

    real, calls = Updater.update, []

    def breaking(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == BREAK:
            raise RuntimeError("pulled the plug")
        return real(*args)

    monkeypatch.setattr(finish, "finish", _no_report)
    with monkeypatch.context() as patch:
        patch.setattr(Updater, "update", breaking)
        with pytest.raises(RuntimeError, match="plug"):
            _train(tmp_path / "broken", **stated)
    resume(tmp_path / "broken", source=_source(), quiet=True)
    got, expected = _tensors(tmp_path / "broken"), _tensors(whole)
    assert got.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(got[name], expected[name])] == []


def test_a_backbone_from_python_is_taken_as_learned(tmp_path: Path) -> None:
    options = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "hidden": 8}
    backbone = vitrail.create_model("vit_tiny", outputs=2, **options).backbone
    fixed = {name: value.clone() for name, value in backbone.state_dict().items()}
    run = vitrail.train(
        Drawn(), backbone, out=tmp_path / "run", quiet=True, epochs=1, batch_size=8, train__lora_rank=2, device="cpu",
        data__val_fraction=0.25, data__test_fraction=0.0, threads=1,
    )  # fmt: skip
    learned = _model(run.folder, "best")
    changed = {name for name, value in fixed.items() if not torch.equal(value, learned[f"backbone.{name}"])}
    assert changed == {f"encoder.0.{part}.weight" for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}


BEFORE = "a run"


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"train.freeze": "backbone"}, "from scratch they have learned nothing.*--from"),
        ({"train.lora_rank": 4}, "train.lora_rank=4 holds.*--from"),
        ({"train.lora_rank": 4, "train.freeze": "backbone", "model.weights": BEFORE}, "choose one"),
        (
            {"train.freeze": "backbone", "model.weights": BEFORE, "distill.teacher": "t", "distill.kind": "feature"},
            "choose hard or soft",
        ),
    ],
)
def test_what_cannot_learn_is_refused_in_words_before_an_image_is_read(
    stated: dict[str, Any], words: str, before: Path, tmp_path: Path
) -> None:
    stated = {key: str(before) if value == BEFORE else value for key, value in stated.items()}

    class Unread(DatasetSource):
        def read(self, index: int, channels: int) -> Any:
            raise AssertionError("an image was read")

    with pytest.raises(UsageError, match=words):
        start({**STATED, **stated}, out=tmp_path / "run", source=Unread(Drawn(), "drawn"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_lora_on_a_model_without_linear_layers_is_refused_before_an_image_is_read() -> None:
    like = Pretrained("x", "resnet18", {}, 32, 1, "mean", mean=(0.5,), std=(0.5,), head=False)
    stated = {"data.source": "drawn", "model.name": "resnet18", "model.weights": "x", "train.lora_rank": 4}
    with pytest.raises(UsageError, match="no linear layers"):
        check_model(stated, like)
