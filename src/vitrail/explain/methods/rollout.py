"""Attention rollout: how much of each patch could reach the answer along all paths of attention, residuals included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.explain.attention import Explainable, attend, depth, on_pixels, resolve, unsuited
from vitrail.explain.methods import Method
from vitrail.explain.target import Target


def rollout(
    model: Explainable,
    images: Tensor,
    target: Target | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): the share of each patch in the token the answer is read from, in [0, 1].

    layer: the last block taken in; None is all blocks. The row of [CLS], or the mean of all patches' rows where the
    head does not read [CLS]; a pooling head's own attention (MAP, SeqPool) is left out. Heads are averaged and the
    target is not looked at.
    """
    assert head is None, "the explainer refuses a head: by_head is false"
    attention = attend(model, images)
    last = resolve(-1 if layer is None else layer, len(attention.blocks), "layer")
    rolled = attention.from_reader(chain(attention.blocks[: last + 1]))  # (B, h, w)
    return on_pixels(rolled, (images.shape[2], images.shape[3]))


def chain(blocks: Sequence[Tensor]) -> Tensor:
    """A_L ... A_1 with A_l = rownorm(mean over heads + I): (B, A, T, T) each -> (B, T, T), rows summing to 1."""
    identity = torch.eye(blocks[0].shape[-1], device=blocks[0].device, dtype=blocks[0].dtype)
    rolled = identity
    for weights in blocks:
        mixed = weights.mean(dim=1) + identity  # (B, T, T)
        rolled = mixed / mixed.sum(dim=-1, keepdim=True) @ rolled
    return rolled


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which blocks were taken in, in words."""
    blocks = depth(model)
    last = resolve(-1 if layer is None else layer, blocks, "layer")
    return f"all {blocks} layers, mean of heads" if last == blocks - 1 else f"layers 0 to {last}, mean of heads"


METHOD = Method(
    name="rollout",
    description="attention of all layers multiplied through, residual connections included",
    source="Abnar and Zuidema 2020 (arXiv 2005.00928), section 3",
    compute=rollout,
    where=where,
    fits=unsuited,
    cost="attention",
    by_layer=True,
)
