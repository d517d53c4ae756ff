"""Counts against arithmetic done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import vitrail
from vitrail.cost.catalogue import CLASSES, catalogue
from vitrail.cost.count import gmacs, parameters
from vitrail.models import list_models, variant


def test_a_convolution_and_a_linear_layer_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(8 * 2 * 3, 5))
    assert parameters(model) == 3 * 8 * 16 + 8 + 48 * 5 + 5
    assert gmacs(model, (8, 12)) * 1e9 == pytest.approx(3 * 16 * 8 * 6 + 48 * 5)


def test_attention_counts_both_products() -> None:
    """Of two models that differ in one block: 4 T D^2 for the projections, 2 T^2 D for QK^T and AV, 2 T D M."""
    size = {"outputs": 2, "image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 48}
    one, two = (gmacs(vitrail.create_model("vit_tiny", depth=n, **size), (32, 32)) for n in (1, 2))
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
