"""Relevance: attention of all layers multiplied through, each weighted by how the score asked for changes with it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from vitrail.explain.attention import Attention, through
from vitrail.explain.explainable import Explainable, unsuited
from vitrail.explain.layer import Layer
from vitrail.explain.methods import Method
from vitrail.explain.target import Target
from vitrail.explain.words import of_layers


def relevance(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): relevance of each cell to the target, 0 or more.

    R = I, then R <- R + mean over heads of (d score / dA . A)^+ R in each layer, and between stages the cells that
    tokens are made of; the row of the token that the answer is read from, or the mean of all patches' rows. A pooling
    head's attention is weighted alike. What comes along residual connections alone is the same for every image and is
    taken off: for the row of [CLS] that changes nothing. No relevance is propagated through single layers (LRP).
    """
    assert (layer, head) == (None, None), "the explainer refuses both: by_layer and by_head are false"

    def read(attention: Attention, own: Target) -> Tensor:
        asked = attention.asked(own, _of_pool)
        alone = attention.back(asked, _past) if attention.pool is None else 0
        return attention.pixels(attention.back(asked, _step) - alone, 0)

    return through(model, images, replace(target, cell=None), read, gradients=True)


def _step(layer: Layer, shares: Tensor) -> Tensor:
    return shares + layer.influence(shares, positive=True).mean(dim=1)


def _past(layer: Layer, shares: Tensor) -> Tensor:
    """Along the residual connection: nothing changes."""
    return shares


def _of_pool(pool: Layer) -> Tensor:
    return pool.influence(pool.call.q.new_ones(len(pool.call.q), 1), positive=True).mean(dim=1)


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """All layers."""
    return of_layers(model, None)


METHOD = Method(
    name="relevance",
    description="attention of all layers multiplied through, weighted by its gradients for the class asked for",
    source="Chefer et al. 2021 (arXiv 2103.15679), equations 5 and 6",
    compute=relevance,
    where=where,
    fits=unsuited,
    cost="gradient",
    by_class=True,
)
