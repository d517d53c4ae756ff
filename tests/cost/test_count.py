"""Counts against arithmetic done by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import vitrail
from vitrail.cost.catalogue import CLASSES, catalogue
from vitrail.cost.count import gmacs, parameters
from vitrail.layers.block import Mlp
from vitrail.layers.recompute import recompute
from vitrail.models import list_models, variant

SMALL = {"outputs": 2, "image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 48}


def test_a_convolution_and_a_linear_layer_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(8 * 2 * 3, 5))
    assert parameters(model) == 3 * 8 * 16 + 8 + 48 * 5 + 5
    assert gmacs(model, (8, 12)) * 1e9 == pytest.approx(3 * 16 * 8 * 6 + 48 * 5)


def test_attention_counts_both_products() -> None:
    """Of two models that differ in one block: 4 T D^2 for the projections, 2 T^2 D for QK^T and AV, 2 T D M."""
    one, two = (gmacs(vitrail.create_model("vit_tiny", depth=n, **SMALL), (32, 32)) for n in (1, 2))
    t, d, m = 17, 24, 48
    assert (two - one) * 1e9 == pytest.approx(4 * t * d * d + 2 * t * t * d + 2 * t * d * m)


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Linear(3, 3)
    assert parameters(nn.Sequential(layer, layer)) == 12


def test_counting_changes_neither_mode_nor_values_nor_device() -> None:
    model = vitrail.create_model("vit_tiny", outputs=3, image_size=32, patch_size=8, depth=1, position="sincos")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fixed = model.backbone.pos_embed.clone()
    gmacs(model, (32, 32))
    assert model.training
    assert torch.equal(fixed, model.backbone.pos_embed)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_catalogue_has_a_row_for_every_model_that_matches() -> None:
    rows = catalogue("vit_small_*")
    assert [row.name for row in rows] == list_models("vit_small_*")
    for row in rows:
        assert row.image_size == variant(row.name).config.size[0]
        assert row.parameters > 384 * CLASSES
        assert row.published == variant(row.name).published


def test_blocks_alike_are_counted_once_and_others_by_themselves(monkeypatch) -> None:
    model = vitrail.create_model("vit_tiny", depth=5, **SMALL)
    ran, forward = [], Mlp.forward
    monkeypatch.setattr(Mlp, "forward", lambda self, x: ran.append(self) or forward(self, x))
    alike = gmacs(model, (32, 32))
    assert len(ran) == 1
    t, d, m = 17, 24, 48
    per_block = 4 * t * d * d + 2 * t * t * d + 2 * t * d * m
    assert alike * 1e9 == pytest.approx(16 * 3 * 64 * d + 5 * per_block + 2 * d)
    wider = model.backbone.blocks()[3].mlp
    wider.fc1, wider.fc2 = nn.Linear(d, 2 * m), nn.Linear(2 * m, d)
    assert (gmacs(model, (32, 32)) - alike) * 1e9 == pytest.approx(2 * t * d * m)
    assert len(ran) == 1 + 2


def test_a_model_on_meta_is_counted_as_it_stands_and_left_so() -> None:
    plain = gmacs(vitrail.create_model("vit_tiny", **SMALL), (32, 32))
    with torch.device("meta"):
        model = vitrail.create_model("vit_tiny", **SMALL)
    assert gmacs(model, (32, 32)) == plain
    still = model.requires_grad_(False).eval()
    recompute(still.backbone.blocks())
    forwards = [block.forward for block in still.backbone.blocks()]
    assert gmacs(still, (32, 32)) == plain
    assert [block.forward for block in still.backbone.blocks()] == forwards
    other = vitrail.create_model("vit_tiny", **SMALL).eval()
    gmacs(other, (32, 32))
    assert not any("forward" in vars(block) for block in other.backbone.blocks())


def test_blocks_of_models_before_are_taken_only_where_they_are_alike() -> None:
    counted: dict = {}
    for changed in ({}, {"depth": 3}, {"heads": 2}, {"hidden": 96}, {"qkv_bias": False}, {"width": 48}):
        for size in ((32, 32), (16, 64), (64, 64)):
            model = vitrail.create_model("vit_tiny", **{**SMALL, "depth": 2, "image_size": size, **changed})
            assert gmacs(model, size, counted=counted) == gmacs(model, size)
    assert 1 < len(counted) < 18


# ------------------------------------------------------------------------------------------------- the remembered ones


def test_what_was_counted_is_not_counted_again(private_cache, monkeypatch) -> None:
    first = catalogue("vit_tiny_patch16_*")
    monkeypatch.setattr("vitrail.cost.catalogue.figures", lambda name, _: pytest.fail(f"{name} is counted again"))
    assert catalogue("vit_tiny_patch16_*") == first
    assert catalogue("vit_tiny_patch16_224") == first[:1]


def test_what_other_code_counted_is_counted_again(private_cache, monkeypatch) -> None:
    first = catalogue("vit_tiny_patch32_224")
    monkeypatch.setattr("vitrail.cost.catalogue._counted_by", lambda: "other code")
    monkeypatch.setattr("vitrail.cost.catalogue.figures", lambda *_: (1, 2.0))
    assert catalogue("vit_tiny_patch32_224") != first


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"counted_by": 1}', '{"counted_by": "HERE", "figures": {"vit_tiny_patch32_224": ["a", 1]}}'],
)
def test_a_damaged_cache_is_no_cache(private_cache, content: str) -> None:
    first = catalogue("vit_tiny_patch32_224")
    written = private_cache / "catalogue.json"
    written.write_text(content.replace("HERE", json.loads(written.read_text())["counted_by"]))
    assert catalogue("vit_tiny_patch32_224") == first
    assert json.loads(written.read_text())["figures"] == {"vit_tiny_patch32_224": [first[0].parameters, first[0].gmacs]}


def test_without_a_place_for_the_cache_the_figures_are_counted_all_the_same(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "file"))
    assert len(catalogue("vit_tiny_patch32_224")) == 1
