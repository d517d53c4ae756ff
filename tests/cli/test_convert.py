"""`vitrail convert`: what it shows, what it writes, how it ends, and that what it makes is used by the other verbs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from vitrail import artifact
from vitrail.cli.main import main
from vitrail.errors import UsageError

Output = pytest.CaptureFixture[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small ViT as a folder of timm."""
    model = vitrail.create_model("vit_tiny_patch16_224", outputs=3, depth=1, image_size=32)
    vitrail.save_weights(model, tmp_path / "source", "timm")
    return tmp_path / "source"


def test_a_model_folder_that_predict_uses(tmp_path: Path, source: Path, capsys: Output) -> None:
    assert main(["convert", str(source), str(tmp_path / "made")]) == 0
    out = capsys.readouterr().out
    assert "20 tensors of vit_tiny_patch16_224 with depth=1, image_size=32, all accounted for" in out
    assert f"Output  {tmp_path / 'made'}" in out
    assert f"vitrail predict {tmp_path / 'made'} IMAGES" in out
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made == {
        "config.json",
        "model.safetensors",
        "preprocessor.json",
        "labels.json",
        "README.md",
        "MANIFEST.json",
    }
    card = (tmp_path / "made" / "README.md").read_text()
    assert "converted with Vitrail from" in card
    assert "trained with Vitrail on" not in card
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "made"), str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out.count("ok") == 1


def test_json_is_one_object_with_every_tensor(tmp_path: Path, source: Path, capsys: Output) -> None:
    assert main(["convert", str(source), str(tmp_path / "w.safetensors"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["convert"]["layout"] == "timm"
    assert told["convert"]["to"] == "vitrail"
    assert len(told["convert"]["tensors"]) == 20
    assert told["outputs"] == [str(tmp_path / "w.safetensors")]


@pytest.mark.parametrize(
    ("dest", "words", "files"),
    [
        ("hf", ["--to", "huggingface"], {"config.json", "model.safetensors", "preprocessor_config.json"}),
        ("timm", ["--to", "timm"], {"config.json", "model.safetensors"}),
        ("w.pth", [], None),  # of a plain ViT only torchvision has a .pth
        ("w.safetensors", [], None),
    ],
)
def test_the_form_of_the_destination_decides(
    tmp_path: Path, source: Path, dest: str, words: list[str], files: set[str] | None
) -> None:
    assert main(["convert", str(source), str(tmp_path / dest), *words]) == 0
    if files is None:
        assert (tmp_path / dest).is_file()
    else:
        assert {path.name for path in (tmp_path / dest).iterdir()} == files


def test_a_run_s_own_model_goes_out_with_its_labels(tmp_path: Path, capsys: Output) -> None:
    """From a model folder of ours to transformers and back: classes, preprocessing, logits."""
    first = vitrail.create_model("vit_tiny_patch16_224", outputs=3, depth=1, image_size=32)
    vitrail.save_weights(first, tmp_path / "w.safetensors")
    assert main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "one")]) == 0
    labels = tmp_path / "one" / "labels.json"
    assert json.loads(labels.read_text())["labels"] == ["0", "1", "2"]
    assert main(["convert", str(tmp_path / "one"), str(tmp_path / "two"), "--to", "huggingface"]) == 0
    assert main(["convert", str(tmp_path / "two"), str(tmp_path / "three")]) == 0
    one, three = artifact.load(tmp_path / "one"), artifact.load(tmp_path / "three")
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    assert np.array_equal(three.preprocessor(pixels), one.preprocessor(pixels))
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(one.model(pictures), three.model(pictures))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["source", "made", "--to", "caffe"], "--to takes one of"),
        (["source", "made.npz"], "cannot express"),
        (["source", "made.bin", "--to", "timm"], "layout is a folder"),
        (["nowhere", "made"], "no weights there"),
        (["source", "made", "--new-head", "1"], "--new-head must be at least 2"),
        (["source", "made", "--image-size", "33"], "not divisible"),
        (["source"], "DEST is missing"),
        (["source", "source"], "exists"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_2(
    tmp_path: Path, source: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_pth_that_may_be_two_layouts_is_asked_for(tmp_path: Path, capsys: Output) -> None:
    sizes = {"depths": (1, 1), "heads": (3, 6), "image_size": 56}
    model = vitrail.create_model("swin_tiny_patch4_window7_224", outputs=3, **sizes)
    vitrail.save_weights(model, tmp_path / "w.safetensors")
    assert main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "w.pth")]) == 2
    assert "--to official or --to torchvision" in capsys.readouterr().err


def test_a_folder_of_ours_at_another_size_keeps_everything_else(tmp_path: Path, model_folder: Path) -> None:
    assert main(["convert", str(model_folder), str(tmp_path / "made"), "--image-size", "32"]) == 0
    before, after = artifact.load(model_folder), artifact.load(tmp_path / "made")
    assert (after.preprocessor.size, after.task.state()) == ((32, 32), before.task.state())
    before.model.backbone.set_image_size((32, 32))
    pictures = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(before.model.eval()(pictures), after.model(pictures))


def test_a_folder_of_ours_gets_a_new_head(tmp_path: Path, model_folder: Path) -> None:
    assert main(["convert", str(model_folder), str(tmp_path / "made"), "--new-head", "7"]) == 0
    before, after = artifact.load(model_folder), artifact.load(tmp_path / "made")
    assert after.preprocessor == before.preprocessor
    assert len(after.task.labels) == 7
    assert torch.equal(before.model.backbone.pos_embed, after.model.backbone.pos_embed)


def test_one_file_of_ours_carries_labels_and_preprocessing(tmp_path: Path, model_folder: Path) -> None:
    assert main(["convert", str(model_folder), str(tmp_path / "w.safetensors")]) == 0
    assert main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "made")]) == 0
    before, after = artifact.load(model_folder), artifact.load(tmp_path / "made")
    assert (after.preprocessor, after.task.state()) == (before.preprocessor, before.task.state())


def test_a_model_that_is_no_classifier_stays_in_our_layout(tmp_path: Path, capsys: Output) -> None:
    model = vitrail.create_model("vit_tiny_patch16_224", task="regress", outputs=2, depth=1, image_size=32)
    with pytest.raises(UsageError, match="cannot express a model for the task regress"):
        vitrail.save_weights(model, tmp_path / "timm", "timm")
    vitrail.save_weights(model, tmp_path / "w.safetensors")
    assert main(["convert", str(tmp_path / "w.safetensors"), str(tmp_path / "made")]) == 2
    assert "is for the task regress" in capsys.readouterr().err
    again = vitrail.create_model("vit_tiny_patch16_224", task="regress", outputs=2, depth=1, image_size=32, seed=1)
    vitrail.load_weights(again, tmp_path / "w.safetensors")
    assert torch.equal(again.head.fc.weight, model.head.fc.weight)


def test_a_folder_that_says_its_model_is_not_called_another(tmp_path: Path, source: Path, capsys: Output) -> None:
    assert main(["convert", str(source), str(tmp_path / "made")]) == 0
    assert main(["convert", str(tmp_path / "made"), str(tmp_path / "again"), "--model", "swin_tiny"]) == 2
    assert "its model is vit_tiny_patch16_224, not swin_tiny: leave --model out" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "again").exists()
    assert main(["convert", str(tmp_path / "made"), str(tmp_path / "again"), "--model", "vit_tiny"]) == 0


def test_a_destination_inside_a_file_is_said(tmp_path: Path, source: Path, capsys: Output) -> None:
    inside = source / "config.json" / "made"
    for words in ([], ["--to", "timm"]):
        assert main(["convert", str(source), str(inside), *words]) == 2
        assert "config.json is a file, not a folder" in " ".join(capsys.readouterr().err.split())
