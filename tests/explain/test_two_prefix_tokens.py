"""Explaining a model with two prefix tokens, which stand on no grid: a distilled model's head reads both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vitrail.assemble import VisionModel, create_model
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain.attention import attend
from vitrail.explain.explainer import explain
from vitrail.explain.methods import get_method, list_methods
from vitrail.explain.methods.raw_attention import maps, raw_attention
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.recorder import record
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


def _read(model: VisionModel) -> list[int]:
    """Places of the tokens that the head reads: both of a distilled model, [CLS] of one with other prefix tokens."""
    return [place for place, name in enumerate(model.backbone.prefix_names) if name in ("cls", "dist")]


def test_both_tokens_of_a_distilled_model_are_read_and_patches_begin_after_the_prefix(
    distilled: VisionModel, images: torch.Tensor, aim: Any
) -> None:
    attention = attend(distilled, images)
    prefix = len(distilled.backbone.prefix_names)
    assert attention.layers[0].matrix().shape == (2, 3, prefix + 16, prefix + 16)
    asked = attention.asked(aim(images))
    assert asked[0].nonzero()[:, 0].tolist() == _read(distilled)
    assert asked.sum(dim=1).tolist() == [1, 1]
    for block in distilled.backbone.blocks():
        layout = block.attn.layout((4, 4))
        assert (layout.prefix_queries, layout.prefix_keys) == (prefix, prefix)


def test_raw_attention_is_the_mean_row_of_those_read_over_the_patches(
    distilled: VisionModel, images: torch.Tensor, aim: Any
) -> None:
    last = _weights(distilled, images)[-1].mean(dim=1)
    prefix = len(distilled.backbone.prefix_names)
    written = last[:, _read(distilled), prefix:].mean(dim=1).reshape(2, 4, 4)
    shown = raw_attention(distilled, images, aim(images))
    torch.testing.assert_close(shown[:, ::8, ::8], written)
    torch.testing.assert_close(maps(distilled, images, aim(images))[-1].mean(dim=1), written)


@pytest.mark.parametrize("method", list_methods())
def test_either_token_can_be_asked_alone(distilled: VisionModel, images: torch.Tensor, method: str, aim: Any) -> None:
    names = [name for name in distilled.backbone.prefix_names if name in ("cls", "dist")]
    compute = get_method(method).compute
    alone = [compute(distilled, images, aim(images, reader=name), layer=None, head=None) for name in names]
    both = compute(distilled, images, aim(images), layer=None, head=None)
    if len(names) == 1:
        torch.testing.assert_close(alone[0], both)
    else:
        assert (alone[0] - alone[1]).abs().max() > 1e-3 * both.abs().max()
    with pytest.raises(UsageError, match="no token 'probe' to read from in this model: it has cls"):
        compute(distilled, images, aim(images, reader="probe"), layer=None, head=None)


def test_rollout_is_the_mean_row_of_those_read_of_the_product(
    distilled: VisionModel, images: torch.Tensor, aim: Any
) -> None:
    prefix = len(distilled.backbone.prefix_names)
    product = torch.eye(prefix + 16).expand(2, -1, -1)
    for weights in _weights(distilled, images):
        product = (weights.mean(dim=1) + torch.eye(prefix + 16)) / 2 @ product
    torch.testing.assert_close(product.sum(dim=-1), torch.ones(2, prefix + 16))
    written = product[:, _read(distilled), prefix:].mean(dim=1).reshape(2, 4, 4)
    torch.testing.assert_close(rollout(distilled, images, aim(images))[:, ::8, ::8], written)


@pytest.mark.parametrize("method", ["rollout", "raw_attention"])
def test_an_explanation_is_whole(distilled: VisionModel, photo: np.ndarray, method: str) -> None:
    class Whole:
        model, preprocessor, task = distilled, Preprocessor(size=(32, 32)), distilled.task

    made = explain(Whole(), photo, "photo.jpg", method=method)
    assert made.raw.shape == (32, 32)
    assert made.heatmap.shape == photo.shape[:2]
    assert made.prediction.label in LABELS
    assert np.nanmax(made.heatmap) == 1
