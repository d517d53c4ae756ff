"""Explaining a model with two prefix tokens: [CLS] is the reader, and neither token stands on the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitrail.assemble import VisionModel, create_model
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.attention import attend
from vitrail.explain.explainer import explain
from vitrail.explain.methods.raw_attention import maps, raw_attention
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.record import record
from vitrail.tasks.classify import Classify

LABELS = ("cat", "dog", "owl")


@pytest.fixture(params=["deit_tiny_distilled", "deit3_tiny"])
def distilled(request: pytest.FixtureRequest) -> VisionModel:
    """24 wide, 3 blocks, 3 heads, 16 patches, attention not flat: distilled, and without a position for [CLS]."""
    model = create_model(
        request.param, Classify(LABELS), image_size=32, patch_size=8, width=24, heads=3, hidden=32, depth=3
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("qkv.weight"):
                parameter.mul_(15)
            if name.endswith("gamma"):
                parameter.fill_(1.0)
    return model.eval()


def _weights(model: VisionModel, images: torch.Tensor) -> list[torch.Tensor]:
    with record(model) as recording, torch.no_grad():
        recording.model(images)
    return [call.weights for call in recording.calls]


def test_the_reader_is_cls_and_the_patches_begin_after_the_prefix(distilled: VisionModel, images: torch.Tensor) -> None:
    attention = attend(distilled, images)
    prefix = len(distilled.backbone.prefix_names)
    assert attention.reader == 0
    assert attention.blocks[0].shape == (2, 3, prefix + 16, prefix + 16)
    with torch.no_grad():
        torch.testing.assert_close(attention.outputs, distilled(images))
    for block in distilled.backbone.blocks():
        layout = block.attn.layout(attention.features.grid)
        assert (layout.prefix_queries, layout.prefix_keys) == (prefix, prefix)


def test_raw_attention_is_the_row_of_cls_over_the_patches(distilled: VisionModel, images: torch.Tensor) -> None:
    last = _weights(distilled, images)[-1]
    prefix = len(distilled.backbone.prefix_names)
    written = last[:, :, 0, prefix:].mean(dim=1).reshape(2, 4, 4)
    shown = raw_attention(distilled, images)
    torch.testing.assert_close(shown[:, ::8, ::8], written)
    torch.testing.assert_close(maps(distilled, images)[-1].mean(dim=1), written)
    if prefix == 2:
        other = last[:, :, 1, prefix:].mean(dim=1).reshape(2, 4, 4)
        assert (written - other).abs().max() > 1e-4  # the distillation token looks elsewhere


def test_rollout_is_the_row_of_cls_of_the_product(distilled: VisionModel, images: torch.Tensor) -> None:
    prefix = len(distilled.backbone.prefix_names)
    product = torch.eye(prefix + 16).expand(2, -1, -1)
    for weights in _weights(distilled, images):
        product = (weights.mean(dim=1) + torch.eye(prefix + 16)) / 2 @ product
    torch.testing.assert_close(product.sum(dim=-1), torch.ones(2, prefix + 16))
    torch.testing.assert_close(rollout(distilled, images)[:, ::8, ::8], product[:, 0, prefix:].reshape(2, 4, 4))


@pytest.mark.parametrize("method", ["rollout", "raw_attention"])
def test_an_explanation_is_whole(distilled: VisionModel, photo: np.ndarray, method: str) -> None:
    class Whole:
        model, preprocessor, task = distilled, Preprocessor(size=(32, 32)), distilled.task

    made = explain(Whole(), photo, "photo.jpg", method=method)
    assert made.raw.shape == (32, 32)
    assert made.heatmap.shape == photo.shape[:2]
    assert made.prediction.label in LABELS
    assert np.nanmax(made.heatmap) == 1
