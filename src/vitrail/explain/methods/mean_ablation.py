"""Mean ablation to first order: what the answer would lose if a cell of one inner map were like the mean of all."""

from __future__ import annotations

from torch import Tensor

from vitrail.explain.explainable import Explainable, cell_side, on_pixels
from vitrail.explain.inner_maps import find_finer_place, map_and_gradient
from vitrail.explain.methods import Method
from vitrail.explain.methods.grad_cam import fits
from vitrail.explain.target import Target


def mean_ablation(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): evidence for the target in units of its score, below zero against it.

    sum over channels of (A - mean of A over cells) times d score / d A, cell by cell, where A is the map that
    `find_finer_place` says: how much the score would fall, to first order, with the mean of all cells in this one's
    place. So every cell has the weights of its own gradient, as in HiResCAM (arXiv 2011.08891), but counts from what
    all cells have in common and not from 0: where a norm follows, which no scale of a cell passes, HiResCAM is 0.
    """
    assert head is None, "the explainer refuses a head: by_head is false"
    place = find_finer_place(model, layer)
    values, gradients = map_and_gradient(model, images, target, place)  # (B, D, h, w)
    apart = values - values.mean(dim=(2, 3), keepdim=True)  # (B, D, h, w)
    summed = (gradients * apart).sum(dim=1)  # (B, h, w)
    return on_pixels(summed, (images.shape[2], images.shape[3]), cell_side(model, place.grid))


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which map was looked at, in words."""
    return find_finer_place(model, layer).words


METHOD = Method(
    name="mean_ablation",
    description="what the answer loses, to first order, if a cell of an inner map is made like the mean of all",
    source="attribution patching (Kramar et al. 2024, arXiv 2403.00745) with the mean of all cells patched in",
    compute=mean_ablation,
    where=where,
    fits=fits,
    cost="gradient",
    by_class=True,
    by_layer=True,
)
