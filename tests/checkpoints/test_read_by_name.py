"""Models that other libraries know by name: torchvision's published weights, and what timm has and the catalogue not.

Nothing is fetched: files stand where the libraries would have put them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vitrail.checkpoints.conversion import read_model
from vitrail.errors import IntegrityError, UsageError

timm = pytest.importorskip("timm", reason="the oracle of this test is timm")
torchvision = pytest.importorskip("torchvision")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps what it fetched."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def in_timms_layout(name: str, folder: Path, classes: int) -> Any:
    """A model of timm with random weights, as its repository on the hub would hold it."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=classes).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    known = {key: value for key, value in model.pretrained_cfg.items() if isinstance(value, (str, int, float, tuple))}
    config = {"architecture": name, "num_classes": classes, "pretrained_cfg": known}
    (folder / "config.json").write_text(json.dumps(config))
    return model


def test_weights_of_torchvision_come_with_their_classes_and_preprocessing(hub: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18()
    torch.save(theirs.state_dict(), hub / "resnet18-f37072fd.pth")
    read = read_model("torchvision:resnet18")
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(read.model(images), theirs.eval()(images), atol=1e-4, rtol=1e-4)
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    labels = read.task.state()["labels"]
    assert labels[:3] == weights.meta["categories"][:3]
    assert len(set(labels)) == 1000
    prepared = weights.transforms()
    assert read.preprocessor.size == (224, 224)
    assert read.preprocessor.mean == tuple(prepared.mean)
    assert read.preprocessor.crop_fraction == 224 / prepared.resize_size[0]
    assert read.preprocessor.interpolation == "bilinear"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "unknown model of torchvision 'resnet19': did you mean"),
        ("resnet18.IMAGENET1K_V7", "unknown weights of torchvision's resnet18"),
    ],
)
def test_a_name_that_torchvision_has_not_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_model(f"torchvision:{name}")


def test_weights_that_cannot_be_fetched_are_named_with_their_place(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(UsageError, match=r"could not be fetched \(no route to host\).*put https://.*resnet18-f37072fd"):
        read_model("torchvision:resnet18")


@pytest.mark.parametrize("name", ["regnety_002", "mobilenetv2_035"])
def test_a_model_that_only_timm_has_answers_as_timms_own(tmp_path: Path, name: str) -> None:
    theirs = in_timms_layout(name, tmp_path / "model", classes=7)
    read = read_model(tmp_path / "model")
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(read.model(images), theirs(images), atol=1e-4, rtol=1e-4)
    assert read.config.model.name == f"timm:{name}"
    assert read.task.state()["labels"] == [str(i) for i in range(7)]
    assert read.preprocessor.mean == tuple(theirs.pretrained_cfg["mean"])


def test_a_classifier_that_does_more_is_refused(tmp_path: Path) -> None:
    in_timms_layout("mobilenetv3_small_050", tmp_path / "model", classes=3)  # a layer between pooling and classifier
    with pytest.raises((UsageError, IntegrityError)):
        read_model(tmp_path / "model")


def test_a_backbone_alone_gives_no_answers(tmp_path: Path) -> None:
    model = in_timms_layout("regnety_002", tmp_path / "model", classes=3)
    rest = {name: value for name, value in model.state_dict().items() if not name.startswith("head.fc")}
    save_file(rest, tmp_path / "model" / "model.safetensors")
    with pytest.raises(UsageError, match="no classification head"):
        read_model(tmp_path / "model")
