"""Raw attention: what those that the answer is read from attended to in one layer, before anything is mixed in."""

from __future__ import annotations

from torch import Tensor

from vitrail.explain.attention import Attention, attend, through
from vitrail.explain.explainable import Explainable, resolve, unsuited
from vitrail.explain.layer import Layer
from vitrail.explain.methods import Method
from vitrail.explain.target import Target
from vitrail.explain.words import of_layer


def raw_attention(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): the attention that each cell got, in [0, 1]; cells and prefix sum to 1.

    The row of the token that the answer is read from, of `head` or the mean of heads; where it is read from patches, or
    [CLS] is not there yet, the mean of all rows; with a cell as target, the row of what it is made of. layer None is
    what stands nearest to the answer: the pooling head's own attention where it has one (MAP, SeqPool), else the last
    layer of more than one cell. Which output is explained makes no difference: attention is the same for all.
    """

    def read(attention: Attention, own: Target) -> Tensor:
        looked, stage = by_head(attention, own, layer)
        chosen = looked.mean(dim=1) if head is None else looked[:, resolve(head, looked.shape[1], "head")]
        return attention.pixels(chosen, stage)

    return through(model, images, target, read, gradients=False)


def by_head(attention: Attention, target: Target, layer: int | None) -> tuple[Tensor, int]:
    """What each head of a layer looked at, (B, A, h, w), and the number of its stage."""
    if layer is None and target.cell is None and target.reader is None and attention.pool is not None:
        return attention.on_grid(whole(attention.pool), attention.pool), attention.pool.stage
    chosen = attention.layer(layer)
    return attention.on_grid(chosen.gaze(attention.at(attention.asked(target), chosen.stage)), chosen), chosen.stage


def whole(pool: Layer) -> Tensor:
    """What a pooling head's one query looks at: (B, A, h * w)."""
    return pool.gaze(pool.call.q.new_ones(len(pool.call.q), 1))


def maps(model: Explainable, images: Tensor, target: Target) -> list[Tensor]:
    """Every layer and head at once: images (B, C, H, W) -> of each layer (B, A, h, w), as `raw_attention` reads it."""
    attention = attend(model, images)
    return [by_head(attention, target, number)[0] for number in range(len(attention.layers))]


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which attention was looked at, in words."""
    return of_layer(model, layer, head)


METHOD = Method(
    name="raw_attention",
    description="attention weights of one layer, one head or their mean, from the token that the answer is read from",
    source="Vaswani et al. 2017 (arXiv 1706.03762), equation 1",
    compute=raw_attention,
    where=where,
    fits=unsuited,
    cost="attention",
    by_layer=True,
    by_head=True,
    by_cell=True,
    per_head=maps,
)
