"""What we write is loaded by the library it is for, whole and strictly, and computes the same there."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from small import MODELS, WRITABLE, close, destination, images, logits, needs, ours

import vitrail
from vitrail.data.preprocess import Preprocessor

PREPARED = Preprocessor(
    size=(64, 64), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop_fraction=0.8, interpolation="bilinear"
)


def _written(tmp_path: Path, layout: str, case: str) -> tuple[nn.Module, Path]:
    model, dest = ours(case), destination(tmp_path, layout)
    vitrail.save_weights(model, dest, layout)
    return model, dest


@pytest.mark.parametrize("case", WRITABLE["timm"])
def test_timm_makes_the_model_from_the_folder(tmp_path: Path, case: str) -> None:
    timm = needs("timm")
    model, dest = _written(tmp_path, "timm", case)
    theirs = timm.create_model(f"local-dir:{dest}", pretrained=True).eval()
    assert close(logits(theirs, images(model)), logits(model, images(model)))


def test_every_name_of_ours_is_known_to_timm_or_has_a_stand_in() -> None:
    timm = needs("timm")
    from vitrail.checkpoints.layouts.timm import DEITS, STAND_INS, TABLES

    known, families = set(timm.list_models()), {table.family for table in TABLES}
    rows = [vitrail.models.variant(name) for name in vitrail.list_models()]
    assert [row.name for row in rows if row.family in families and STAND_INS.get(row.name, row.name) not in known] == []
    assert {*STAND_INS.values(), *DEITS.values()} <= known


@pytest.mark.parametrize("case", WRITABLE["huggingface"])
def test_transformers_makes_the_model_from_the_folder(tmp_path: Path, case: str) -> None:
    transformers = needs("transformers")
    model, dest = _written(tmp_path, "huggingface", case)
    auto = transformers.AutoModelForImageClassification
    if case == "deit-distilled":
        auto = transformers.DeiTForImageClassificationWithTeacher  # the automatic choice is the class with one head
    theirs, account = auto.from_pretrained(dest, output_loading_info=True)
    assert not any(account[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert close(logits(theirs.eval(), images(model)), logits(model, images(model)))
    assert theirs.config.id2label == dict(enumerate(model.task.labels))


def _torchvision(case: str) -> nn.Module:
    models = needs("torchvision").models
    size = MODELS[case][1]["image_size"]
    if case == "vit":
        return models.VisionTransformer(size, 16, 2, 3, 192, 768, num_classes=5)
    if case in ("swin", "swin_v2"):
        v2 = case == "swin_v2"
        from torchvision.models.swin_transformer import (
            PatchMerging,
            PatchMergingV2,
            SwinTransformerBlock,
            SwinTransformerBlockV2,
        )

        return models.SwinTransformer(
            [4, 4], 96, [1, 2], [3, 6], [8, 8] if v2 else [7, 7], num_classes=5,
            block=SwinTransformerBlockV2 if v2 else SwinTransformerBlock,
            downsample_layer=PatchMergingV2 if v2 else PatchMerging,
        )  # fmt: skip
    if case == "convnext":
        from torchvision.models.convnext import CNBlockConfig

        settings = [
            CNBlockConfig(96, 192, 1),
            CNBlockConfig(192, 384, 1),
            CNBlockConfig(384, 768, 2),
            CNBlockConfig(768, None, 1),
        ]
        return models.ConvNeXt(settings, num_classes=5)
    block = models.resnet.Bottleneck if case == "resnet-bottleneck" else models.resnet.BasicBlock
    return models.ResNet(block, [1, 1, 1, 1], num_classes=5)


@pytest.mark.parametrize("case", WRITABLE["torchvision"])
def test_torchvision_loads_the_state_dict_strictly(tmp_path: Path, case: str) -> None:
    model, dest = _written(tmp_path, "torchvision", case)
    theirs = _torchvision(case)
    theirs.load_state_dict(torch.load(dest, weights_only=True), strict=True)
    assert close(logits(theirs.eval(), images(model)), logits(model, images(model)))


@pytest.mark.parametrize("case", ["vit-tanh", "vit-map-tanh"])
def test_timm_reads_the_npz(tmp_path: Path, case: str) -> None:
    """timm's own reader of Google's files; it knows both flavours."""
    timm = needs("timm")
    model, dest = _written(tmp_path, "google", case)
    pooled = {"global_pool": "map", "class_token": False} if "map" in case else {}
    theirs = timm.create_model(
        "vit_tiny_patch16_224", depth=2, img_size=64, num_classes=5, act_layer="gelu_tanh", **pooled
    )
    theirs.load_pretrained(str(dest))
    assert close(logits(theirs.eval(), images(model)), logits(model, images(model)))


def _official(case: str) -> tuple[nn.Module, Any]:
    """A model of timm's and the function that reads the papers' own names into it."""
    timm = needs("timm")
    from timm.models import pvt_v2, swin_transformer, swin_transformer_v2, vision_transformer

    name, reduced = MODELS[case]
    options = {"depth": 2, "img_size": 64, "num_classes": 5}
    if case.startswith("deit"):
        return timm.create_model(name, **options), partial(
            vision_transformer.checkpoint_filter_fn, adapt_layer_scale=True
        )
    if case.startswith("swin"):
        reader = swin_transformer_v2 if case == "swin_v2" else swin_transformer
        options = {"depths": (1, 2), "num_heads": (3, 6), "img_size": reduced["image_size"], "num_classes": 5}
        return timm.create_model(name, **options), reader.checkpoint_filter_fn
    return timm.create_model(name, depths=reduced["depths"], num_classes=5), pvt_v2.checkpoint_filter_fn


@pytest.mark.parametrize("case", [case for case in WRITABLE["official"] if case != "pvt"])
def test_the_papers_names_are_what_timm_reads(tmp_path: Path, case: str) -> None:
    model, dest = _written(tmp_path, "official", case)
    theirs, reader = _official(case)
    wrapped = torch.load(dest, weights_only=True)
    assert list(wrapped) == ["model"]
    theirs.load_state_dict(reader(wrapped["model"], theirs), strict=True)
    assert close(logits(theirs.eval(), images(model)), logits(model, images(model)))


def test_pvt_has_the_names_of_its_paper(tmp_path: Path) -> None:
    """No library reads the official PVT: its names, from whai362/PVT (reference table 5.3), are written out here."""
    model, dest = _written(tmp_path, "official", "pvt")
    written = torch.load(dest, weights_only=True)["model"]
    state = model.state_dict()
    assert len(written) == len(state)
    assert torch.equal(written["pos_embed3"], state["backbone.levels.2.pos_embed"])
    assert torch.equal(written["block3.1.attn.kv.weight"], state["backbone.levels.2.blocks.1.attn.kv.weight"])
    assert torch.equal(written["patch_embed2.norm.bias"], state["backbone.levels.1.patch_embed.norm.bias"])
    assert {
        "cls_token",
        "norm.weight",
        "head.bias",
        "block1.0.attn.sr.weight",
        "block1.0.attn.norm.weight",
    } <= written.keys()


def test_preprocessing_goes_along(tmp_path: Path) -> None:
    """Each library prepares an image as ours does."""
    timm, transformers = needs("timm"), needs("transformers")
    model = ours("vit")
    for layout in ("timm", "huggingface"):
        vitrail.save_weights(model, tmp_path / layout, layout, PREPARED)
    config = timm.create_model(f"local-dir:{tmp_path / 'timm'}").pretrained_cfg
    assert (config["mean"], config["std"], config["crop_pct"], config["interpolation"]) == (
        [0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6],
        0.8,
        "bilinear",
    )
    pixels = torch.randint(0, 256, (90, 120, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path / "huggingface")(pixels, return_tensors="pt")
    difference = (theirs["pixel_values"][0] - torch.from_numpy(PREPARED(pixels))).abs()
    assert float(difference.max()) < 0.06  # two resamplers round to bytes, each in its own way
    assert float(difference.mean()) < 0.01
