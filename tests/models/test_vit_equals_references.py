"""Our ViT and DeiT compute what timm's, torchvision's and transformers' do, from the same weights, there and back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from reference import close32, close64, outputs_and_gradients, randomise
from vit_reference import PEERS, Peer, from_timm

import vitrail

DTYPES = pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float64, close64), (torch.float32, close32)], ids=["float64", "float32"]
)


def _pair(peer: Peer, dtype: torch.dtype, **options) -> tuple[nn.Module, nn.Module]:
    """Ours with the weights of the peer, and the peer."""
    theirs = peer.build().eval()
    randomise(theirs)
    ours = peer.ours(**options)
    ours.load_state_dict(peer.rename(theirs.state_dict()))
    return ours.to(dtype), theirs.to(dtype)


def _agree(ours: nn.Module, theirs: nn.Module, rename, close) -> bool:
    """Whether logits and every gradient agree."""
    size = (2, 3, *ours.backbone.image_size)
    images = torch.randn(size, generator=torch.Generator().manual_seed(1))
    images = images.to(next(ours.parameters()).dtype)
    logits, gradients = outputs_and_gradients(ours, images)
    reference, reference_gradients = outputs_and_gradients(theirs, images)
    named = rename(reference_gradients)
    assert gradients.keys() == named.keys()
    return close(logits, reference) and all(close(gradients[name], named[name]) for name in named)


@DTYPES
@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_logits_and_gradients_equal_the_references(peer: Peer, dtype: torch.dtype, close) -> None:
    assert _agree(*_pair(peer, dtype), peer.rename, close)


@pytest.mark.parametrize(
    ("dtype", "close", "eps"),
    [(torch.float64, close64, 1e-5), (torch.float64, close64, 1e-12), (torch.float32, close32, 1e-5)],
    ids=["float64-torch", "float64-transformers", "float32-torch"],
)
@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_a_wrong_epsilon_is_noticed(peer: Peer, dtype: torch.dtype, close, eps: float) -> None:
    """PyTorch's default, and that of transformers, which is too near for float32 to tell."""
    assert not _agree(*_pair(peer, dtype, eps=eps), peer.rename, close)


@DTYPES
@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.label in ("timm vit", "timm so400m, MAP")], ids=str)
def test_the_other_gelu_is_noticed(peer: Peer, dtype: torch.dtype, close) -> None:
    assert not _agree(*_pair(peer, dtype, activation="gelu_tanh"), peer.rename, close)


def test_the_pooling_heads_gelu_and_epsilon_are_the_encoders() -> None:
    """Each alone is noticed in the head: the encoder is left as it was."""
    peer = next(peer for peer in PEERS if peer.label == "timm so400m, MAP")
    ours, theirs = _pair(peer, torch.float64)
    ours.head.pool.norm.eps = 1e-5
    assert not _agree(ours, theirs, peer.rename, close64)
    ours, theirs = _pair(peer, torch.float64)
    ours.head.pool.mlp.activation = "gelu_tanh"
    assert not _agree(ours, theirs, peer.rename, close64)


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize(
    "name", ["vit_base_patch16_224", "deit_small_distilled_patch16_224", "deit3_small_patch16_224"]
)
def test_at_full_size_too(name: str, dtype: torch.dtype, close) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, a reference implementation")
    theirs = timm.create_model(name, num_classes=10).eval()
    randomise(theirs)
    ours = vitrail.create_model(name, outputs=10).eval()
    ours.load_state_dict(from_timm(theirs.state_dict()))
    assert _agree(ours.to(dtype), theirs.to(dtype), from_timm, close)
