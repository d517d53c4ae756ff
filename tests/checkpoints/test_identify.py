"""The model is what config or shapes say; where they leave it open, what fits is listed and nothing is guessed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

from small import MODELS, needs, ours

import vitrail
from vitrail.checkpoints import transformers_config
from vitrail.checkpoints.conversion import convert
from vitrail.checkpoints.facts import facts_of, outputs_of
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import families, variant

ROWS = [row for module in families().values() for row in module.VARIANTS]
HIDDEN = {"heads", "eps", "activation", "drop_path", "drop_path_rule", "window", "pretrained_window", "image_size",
          "reduction_eps", "final_eps", "position", "pooling", "sr_ratios", "patch_size", "cls_position",
          "stem", "locality"}  # fmt: skip
"""Fields that some family's shapes do not show; the last two are options that no published checkpoint has."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_shapes_show_what_they_can_of_every_model(row) -> None:
    with torch.device("meta"):
        model = vitrail.create_model(row.name, outputs=9)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    facts = facts_of(row.family, shapes, {})
    own = row.config.model_dump()
    scale = own.get("layer_scale", 0)
    assert {name: bool(value) if name == "layer_scale" else value for name, value in facts.items()} == {
        name: bool(scale) if name == "layer_scale" else own.get(name, False) for name in facts
    }
    assert own.keys() - facts.keys() <= HIDDEN | {"layer_scale"}
    assert outputs_of(shapes) == 9


@pytest.mark.parametrize("case", ["vit", "swin_v2"])
def test_several_that_fit_are_listed(tmp_path: Path, case: str) -> None:
    """ViT or DeiT; windows of 8 or 16: no tensor says."""
    name = MODELS[case][0]
    model = vitrail.create_model(name, outputs=4)
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match="may be those of") as error:
        convert(tmp_path / "bare.safetensors", tmp_path / "made")
    expected = {"vit": ("vit_tiny_patch16_224", "deit_tiny_patch16_224"),
                "swin_v2": ("swinv2_tiny_window8_256", "swinv2_tiny_window16_256")}[case]  # fmt: skip
    assert all(one in str(error.value) for one in expected)
    assert "--model" in str(error.value)
    report = convert(tmp_path / "bare.safetensors", tmp_path / "made", model=expected[1]).report
    assert report.model == expected[1]


def test_a_bare_file_of_transformers_leaves_epsilon_open(tmp_path: Path) -> None:
    """Its library lets every model choose; the catalogue's own value would be a guess."""
    vitrail.save_weights(ours("pvt_v2-one-epsilon"), tmp_path / "saved", "huggingface")
    (tmp_path / "saved" / "config.json").unlink()
    with pytest.raises(UsageError, match="--model"):
        convert(tmp_path / "saved", tmp_path / "made")


def test_what_is_in_no_table_is_said_with_its_shapes(tmp_path: Path) -> None:
    save_file(ours("vit", depth=3).state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match=r"has these shapes \(width 192, .*depth 3.*--model"):
        convert(tmp_path / "bare.safetensors", tmp_path / "made")
    report = convert(tmp_path / "bare.safetensors", tmp_path / "made", model="vit_tiny_patch16_224").report
    assert report.model == "vit_tiny_patch16_224 with depth=3, image_size=64"


@pytest.mark.parametrize(
    ("name", "said"),
    [("vit_base_patch16_224", "has width 768"), ("swin_tiny", "of the family swin"), ("vit_tny", "did you mean")],
)  # fmt: skip
def test_a_name_that_cannot_be_is_said(tmp_path: Path, name: str, said: str) -> None:
    save_file(ours("vit").state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match=said):
        convert(tmp_path / "bare.safetensors", tmp_path / "made", model=name)


def test_a_config_that_contradicts_its_tensors_is_said(tmp_path: Path) -> None:
    vitrail.save_weights(ours("vit"), tmp_path / "saved", "huggingface")
    config = tmp_path / "saved" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 192', '"hidden_size": 384'))
    with pytest.raises(IntegrityError, match="its config says width=384, and its tensors have 192"):
        convert(tmp_path / "saved", tmp_path / "made")


def test_a_unique_set_of_shapes_needs_no_name(tmp_path: Path) -> None:
    for name in ("resnet18", "pvt_v2_b1", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224"):
        save_file(vitrail.create_model(name, outputs=4).state_dict(), tmp_path / f"{name}.safetensors")
        assert convert(tmp_path / f"{name}.safetensors", tmp_path / name).report.model == name


def test_epsilon_and_activation_come_along(tmp_path: Path) -> None:
    vitrail.save_weights(ours("vit-tanh", eps=1e-12), tmp_path / "saved", "huggingface")
    convert(tmp_path / "saved", tmp_path / "made")
    artifact = vitrail.load(tmp_path / "made").artifact
    assert (artifact.config.model.options["eps"], artifact.config.model.options["activation"]) == (1e-12, "gelu_tanh")
    assert variant(artifact.config.model.name).family == "vit"
    convert(tmp_path / "made", tmp_path / "again", to="huggingface")
    assert '"layer_norm_eps": 1e-12' in (tmp_path / "again" / "config.json").read_text()


def test_a_file_of_google_needs_no_name(tmp_path: Path) -> None:
    """All its models have the tanh GELU, whichever row of the catalogue they are."""
    model = vitrail.create_model("vit_tiny_patch16_224", outputs=4, activation="gelu_tanh")
    vitrail.save_weights(model, tmp_path / "saved.npz", "google")
    report = convert(tmp_path / "saved.npz", tmp_path / "made").report
    assert report.model == "vit_tiny_patch16_224 with activation=gelu_tanh"


def test_an_architecture_that_is_none_of_ours_is_not_taken_for_one(tmp_path: Path) -> None:
    """timm's resnetblur18 has the tensors of resnet18, and blurs before it strides."""
    model = vitrail.create_model("resnet18", outputs=4)
    vitrail.save_weights(model, tmp_path / "saved", "timm")
    config = tmp_path / "saved" / "config.json"
    config.write_text(config.read_text().replace('"architecture": "resnet18"', '"architecture": "resnetblur18"'))
    with pytest.raises(UsageError, match=r"says resnetblur18, .* those of resnet18, .*--model"):
        convert(tmp_path / "saved", tmp_path / "made")
    assert not (tmp_path / "made").exists()
    told = "its config says resnetblur18, which the catalogue has not"
    report = convert(tmp_path / "saved", tmp_path / "made", model="resnet18").report
    assert (report.model, told in report.notes[0]) == ("resnet18", True)
    assert told in vitrail.load_weights(model, tmp_path / "saved").notes[0]


@pytest.mark.parametrize("kind", transformers_config.DEFAULTS)
def test_what_a_config_of_transformers_leaves_out_is_what_they_take(kind: str) -> None:
    transformers = needs("transformers")
    own = transformers.AutoConfig.for_model(kind).to_dict()
    known = transformers_config.DEFAULTS[kind]
    assert {key: own[key] for key in known} == known
    unseen = {"num_attention_heads", "layer_norm_eps", "hidden_act", "pretrained_window_sizes"}
    said = transformers_config.MEANT.get(kind, {})
    assert transformers_config.KEYS[kind].keys() & unseen <= known.keys() | said.keys()


def test_an_epsilon_that_is_left_out_is_not_the_catalogue_s(tmp_path: Path) -> None:
    vitrail.save_weights(ours("vit"), tmp_path / "saved", "huggingface")
    path = tmp_path / "saved" / "config.json"
    config = json.loads(path.read_text())
    del config["layer_norm_eps"]
    config["num_attention_heads"] = 3
    path.write_text(json.dumps(config))
    report = convert(tmp_path / "saved", tmp_path / "made", model="vit_tiny_patch16_224").report
    assert "eps=1e-12" in report.model
