"""Our ViT computes what timm's computes, from the same weights, forwards and backwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from reference import close32, close64, from_timm, outputs_and_gradients, randomise

import vitrail

timm = pytest.importorskip("timm", reason="needs timm, the reference implementation")


def _pair(name: str, dtype: torch.dtype, **options):
    theirs = timm.create_model(name, num_classes=10).eval()
    randomise(theirs)
    ours = vitrail.create_model(name, outputs=10, **options).eval()
    ours.load_state_dict({from_timm(k): v for k, v in theirs.state_dict().items()})
    return ours.to(dtype), theirs.to(dtype)


def _agree(ours, theirs, close) -> bool:
    batch = 2 if ours.backbone.width < 400 else 1
    images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    images = images.to(next(ours.parameters()).dtype)
    logits, gradients = outputs_and_gradients(ours, images)
    reference, reference_gradients = outputs_and_gradients(theirs, images)
    assert len(gradients) == len(reference_gradients)
    pairs = [(logits, reference)] + [(gradients[from_timm(k)], g) for k, g in reference_gradients.items()]
    return all(close(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "vit_small_patch16_224", pytest.param("vit_base_patch16_224", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, close64), (torch.float32, close32)])
def test_logits_and_gradients_equal_timm(name: str, dtype: torch.dtype, close) -> None:
    assert _agree(*_pair(name, dtype), close)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, close64), (torch.float32, close32)])
def test_a_wrong_epsilon_is_noticed(dtype: torch.dtype, close) -> None:
    assert not _agree(*_pair("vit_tiny_patch16_224", dtype, eps=1e-5), close)


def test_layer_scale_equals_timm() -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=10, init_values=0.1).eval()
    randomise(theirs)
    ours = vitrail.create_model("vit_tiny_patch16_224", outputs=10, layer_scale=0.1).eval()
    ours.load_state_dict({from_timm(k): v for k, v in theirs.state_dict().items()})
    assert _agree(ours.double(), theirs.double(), close64)


def test_mean_pooling_equals_timm_without_fc_norm() -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=10, global_pool="avg", fc_norm=False).eval()
    randomise(theirs)
    ours = vitrail.create_model("vit_tiny_patch16_224", outputs=10, pooling="mean").eval()
    ours.load_state_dict({from_timm(k): v for k, v in theirs.state_dict().items()})
    assert _agree(ours.double(), theirs.double(), close64)
