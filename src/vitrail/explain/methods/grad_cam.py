"""Grad-CAM: the channels of one map inside the model, each weighted by how the answer changes with it on the whole."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from vitrail.contracts import Backbone
from vitrail.explain.explainable import Explainable, cell_side, on_pixels
from vitrail.explain.inner_maps import find_place, map_and_gradient
from vitrail.explain.methods import Method
from vitrail.explain.target import Target


def grad_cam(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): evidence for the target in units of its score, below zero against it.

    sum over channels of A times the mean over cells of d score / d A, where A is the map that `find_place` says: after
    the last norm where the head reads patches, so that after mean pooling the cells' sum is the score but for its
    bias; else what the last attention reads, where the mean gives weights to cells that the answer may not have read:
    the map is then no account of the score. The paper's ReLU is left out: what speaks against the target stays. Of a
    dense answer every cell has the weights of its own gradient (HiResCAM, arXiv 2011.08891): their mean would be the
    same for every region where the decoder is linear.
    """
    assert head is None, "the explainer refuses a head: by_head is false"
    place = find_place(model, layer)
    values, gradients = map_and_gradient(model, images, target, place)  # (B, D, h, w)
    weights = gradients if model.task.dense else gradients.mean(dim=(2, 3), keepdim=True)  # (B, D, h, w) or 1, 1
    summed = (weights * values).sum(dim=1)  # (B, h, w)
    return on_pixels(summed, (images.shape[2], images.shape[3]), cell_side(model, place.grid))


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """Which map was looked at, in words."""
    return find_place(model, layer).words


def fits(model: Explainable) -> str:
    """Not a model whose maps all have one cell."""
    backbone = cast(Backbone, model.backbone)
    if all(stage.grid == (1, 1) for stage in backbone.stages()):
        return f"{type(backbone).__name__} has one cell for the whole image here: Grad-CAM tells no places apart"
    return ""


METHOD = Method(
    name="grad_cam",
    description="the last map that the answer is read from, its channels weighted by the gradient of the answer",
    source="Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2, without the ReLU",
    compute=grad_cam,
    where=where,
    fits=fits,
    cost="gradient",
    by_class=True,
    by_layer=True,
)
