"""Raw attention: what the head's token attended to in one block, before anything is mixed in from other blocks."""

from __future__ import annotations

from torch import Tensor

from vitrail.explain.attention import Explainable, attend, depth, on_pixels, pooling, resolve, unsuited
from vitrail.explain.methods import Method
from vitrail.explain.target import Target


def raw_attention(
    model: Explainable,
    images: Tensor,
    target: Target | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): the attention that each patch got, in [0, 1]; patches and prefix sum to 1.

    The row of [CLS] in block `layer`, `head` or the mean of heads. Where the head does not read [CLS], the mean of all
    patches' rows. layer None is what stands nearest to the answer: the pooling head's own attention where it has one
    (MAP, SeqPool), else the last block. The target is not looked at: attention is the same for every class.
    """
    attention = attend(model, images)
    if layer is None and attention.pool is not None:
        rows = attention.on_grid(attention.pool[..., 0, :])  # (B, A, h, w)
    else:
        weights = attention.blocks[resolve(-1 if layer is None else layer, len(attention.blocks), "layer")]
        rows = attention.from_reader(weights)  # (B, A, h, w)
    chosen = rows.mean(dim=1) if head is None else rows[:, resolve(head, rows.shape[1], "head")]  # (B, h, w)
    return on_pixels(chosen, (images.shape[2], images.shape[3]))


def maps(model: Explainable, images: Tensor, target: Target | None = None) -> list[Tensor]:
    """Every block and head at once: images (B, C, H, W) -> of each block (B, A, h, w), as `raw_attention` reads it."""
    attention = attend(model, images)
    return [attention.from_reader(weights) for weights in attention.blocks]


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which attention was looked at, in words."""
    heads = "mean of heads" if head is None else f"head {head}"
    if layer is None and pooling(model) in ("map", "seq"):
        return f"pooling head, {heads}"
    blocks = depth(model)
    place = resolve(-1 if layer is None else layer, blocks, "layer")
    return f"layer {place} (of 0 to {blocks - 1}), {heads}"


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
    per_head=maps,
)
