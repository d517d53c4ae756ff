"""Attention rollout: how much of each patch could reach the answer along all paths of attention, residuals included."""

from __future__ import annotations

from torch import Tensor

from vitrail.explain.attention import Attention, through
from vitrail.explain.explainable import Explainable, unsuited
from vitrail.explain.layer import Layer
from vitrail.explain.methods import Method
from vitrail.explain.methods.raw_attention import whole
from vitrail.explain.target import Target
from vitrail.explain.words import of_layers


def rollout(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): the share of each cell in what the answer is read from, in [0, 1].

    A row of R = A_L ... A_1 with A_l = rownorm(mean over heads + I), and between stages of the cells that tokens are
    made of: of the token that the answer is read from, or the mean of all patches' rows, or those that a pooling head
    attends to. layer: the last one taken in; None is all, a pooling head's too. Cells and prefix sum to 1. Convolutions
    and MLPs that mix cells are not counted, and which output is explained makes no difference.
    """
    assert head is None, "the explainer refuses a head: by_head is false"

    def read(attention: Attention, own: Target) -> Tensor:
        asked = attention.asked(own, (lambda pool: whole(pool).mean(dim=1)) if layer is None else None)
        return attention.pixels(attention.back(asked, step, -1 if layer is None else layer), 0)

    return through(model, images, target, read, gradients=False)


def step(layer: Layer, shares: Tensor) -> Tensor:
    """Shares (B, K + h * w) through one layer and past it: every row of attention sums to 1, so rownorm halves."""
    return (shares + layer.gaze(shares).mean(dim=1)) / 2


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which layers were taken in, in words."""
    return of_layers(model, layer)


METHOD = Method(
    name="rollout",
    description="attention of all layers multiplied through, residual connections included",
    source="Abnar and Zuidema 2020 (arXiv 2005.00928), section 3",
    compute=rollout,
    where=where,
    fits=unsuited,
    cost="attention",
    by_layer=True,
    by_cell=True,
)
