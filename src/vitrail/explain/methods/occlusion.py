"""Occlusion: by how much the answer falls when a part of the image is covered. It needs answers alone, no gradients."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Engine, Features
from vitrail.errors import UsageError
from vitrail.explain.explainable import Explainable, cell_side
from vitrail.explain.methods import Method
from vitrail.explain.passes import FORWARD, chunks, evaluating, score
from vitrail.explain.perturbation import Answer, Covering, drops
from vitrail.explain.target import Target

PLACES = 14
"""Steps a side at most: about two hundred passes, whatever the size of the image."""


def occlusion(
    model: Explainable | Engine,
    images: Tensor,
    target: Target,
    *,
    layer: int | None = None,
    head: int | None = None,
    covering: Covering | None = None,
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): by how much the score falls where a pixel is covered, in units of the score.

    model: one of ours, or any engine (NumPy to NumPy), exported ones too.  covering: windows; None is `usual`. They
    are filled with the grey that normalisation calls 0, and a pixel has the mean of the windows that hold it.

    Raises UsageError for a target's reader where the model is an engine, whose tokens cannot be seen.
    """
    assert layer is None, "the explainer refuses a layer: by_layer is false"
    assert head is None, "the explainer refuses a head: by_head is false"
    size = (images.shape[2], images.shape[3])
    if not isinstance(model, nn.Module):
        engine = cast(Engine, model)
        return drops(_of_engine(engine), images, target, covering or usual(size, (1, 1)))
    asked = cast(Explainable, model)
    with evaluating(asked), torch.no_grad():
        return drops(_of_model(asked, images, target), images, target, covering or usual(size, _cell(asked)))


def usual(size: tuple[int, int], cell: tuple[int, int]) -> Covering:
    """Windows for images of (H, W) pixels: steps of whole cells, `PLACES` a side at most, and twice that wide.

    Overlapping windows find what lies across a border, and are large enough for a model not to guess what they hide.
    """
    down, right = (one * math.ceil(side / (PLACES * one)) for side, one in zip(size, cell, strict=True))
    return Covering((min(2 * down, size[0]), min(2 * right, size[1])), (down, right))


def _cell(model: Explainable) -> tuple[int, int]:
    """(H, W) of a cell of the first grid in pixels, rounded up where it is not whole."""
    backbone = cast(Backbone, model.backbone)
    (height, width), grid = backbone.image_size, backbone.stages()[0].grid
    side = cell_side(model, grid)
    return (side, side) if side else (-(-height // grid[0]), -(-width // grid[1]))


def _of_model(model: Explainable, images: Tensor, target: Target) -> Answer:
    rest = None if target.reader is None else _features(model, images)

    def answer(copies: Tensor, asked: Target, which: Tensor) -> Tensor:
        held = None if rest is None else Features(rest.tokens[which], rest.grid, rest.prefix[which])
        return score(model, copies, asked, held)

    return answer


def _features(model: Explainable, images: Tensor) -> Features:
    """Of the images as they are: what tokens that the answer is not read from are held at."""
    size = (images.shape[2], images.shape[3])
    parts = [model.features(images[chosen]) for chosen in chunks(len(images), size, FORWARD)]
    tokens, prefix = (torch.cat([getattr(part, name) for part in parts]) for name in ("tokens", "prefix"))
    return Features(tokens, parts[0].grid, prefix)


def _of_engine(engine: Engine) -> Answer:
    def answer(copies: Tensor, asked: Target, which: Tensor) -> Tensor:
        if asked.reader is not None:
            raise UsageError("tokens of an exported model cannot be told apart: leave the reader out")
        outputs = engine(copies.float().cpu().numpy())
        return asked.score(torch.from_numpy(outputs).float()).to(copies.device)

    return answer


def where(model: Explainable, layer: int | None, head: int | None) -> str:
    """How large the windows are, in words."""
    covering = usual(cast(Backbone, model.backbone).image_size, _cell(model))
    return "windows of {1} x {0} px, {3} x {2} px apart".format(*covering.window, *covering.step)


METHOD = Method(
    name="occlusion",
    description="by how much the answer falls when a window of the image is covered with grey",
    source="Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2",
    compute=occlusion,
    where=where,
    fits=lambda model: "",
    cost="passes",
    by_class=True,
)
