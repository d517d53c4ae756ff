"""Attention times gradient: what one layer's attention did for the score asked for, to first order."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from vitrail.explain.attention import Attention, attend, through
from vitrail.explain.explainable import Explainable, resolve, unsuited
from vitrail.explain.methods import Method
from vitrail.explain.target import Target
from vitrail.explain.words import of_layer


def attention_gradient(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): d score / dA . A of the rows that the answer is read from, signed.

    Of `head` or the mean of heads. What is positive raised the score, to first order, and what is negative lowered it.
    Rows are those of raw attention, and so is the layer: by default a pooling head's own, else the last of more than
    one cell.
    """

    def read(attention: Attention, own: Target) -> Tensor:
        did, stage = _by_head(attention, own, layer)
        chosen = did.mean(dim=1) if head is None else did[:, resolve(head, did.shape[1], "head")]
        return attention.pixels(chosen, stage)

    return through(model, images, replace(target, cell=None), read, gradients=True)


def _by_head(attention: Attention, target: Target, layer: int | None) -> tuple[Tensor, int]:
    """What each head of a layer did, (B, A, h, w), and the number of its stage."""
    pool = attention.pool
    if layer is None and target.reader is None and pool is not None:
        return attention.on_grid(pool.influence(pool.call.q.new_ones(len(pool.call.q), 1), False), pool), pool.stage
    chosen = attention.layer(layer)
    asked = attention.at(attention.asked(target), chosen.stage)
    return attention.on_grid(chosen.influence(asked, positive=False), chosen), chosen.stage


def maps(model: Explainable, images: Tensor, target: Target) -> list[Tensor]:
    """Every layer and head at once: images (B, C, H, W) -> of each layer (B, A, h, w)."""
    own = replace(target, cell=None)
    attention = attend(model, images, own)
    return [_by_head(attention, own, number)[0] for number in range(len(attention.layers))]


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which attention was looked at, in words."""
    return of_layer(model, layer, head)


METHOD = Method(
    name="attention_gradient",
    description="attention of one layer times its gradient for the class asked for, for and against it",
    source="Chefer et al. 2021 (arXiv 2103.15679), equation 5 in one layer, with its sign",
    compute=attention_gradient,
    where=where,
    fits=unsuited,
    cost="gradient",
    by_class=True,
    by_layer=True,
    by_head=True,
    per_head=maps,
)
