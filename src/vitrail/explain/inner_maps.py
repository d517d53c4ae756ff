"""Maps inside a model: which one a method looks at, its values, and how the answer changes with them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features, Stage
from vitrail.errors import UsageError
from vitrail.explain.explainable import Explainable, pooling, resolve
from vitrail.explain.gradients import gradient_of
from vitrail.explain.passes import BACKWARD, chunks, evaluating, rows, score
from vitrail.explain.target import Target
from vitrail.layers.attention import ScaledDotProduct


@dataclass(frozen=True)
class Place:
    """A map inside a model.

    module: what it goes into (entering) or comes from.  grid: (h, w).  prefix: leading tokens that stand nowhere on
    it.  words: for captions.
    """

    module: nn.Module
    entering: bool
    grid: tuple[int, int]
    prefix: int
    words: str


def find_place(model: Explainable, layer: int | None) -> Place:
    """Where to look: with a layer, at what its attention reads, or what it returns where it has none to be seen.

    By default as near to the answer as the patches still count: the backbone's final tokens, after their norm, where
    the head reads those; what the last block's attention reads, after its norm, where the head reads [CLS], since
    patches that leave the last block are read by nobody. A last map of one cell, which tells nothing apart, gives way
    to the last one that has more.

    Raises UsageError for a layer out of range.
    """
    backbone = cast(Backbone, model.backbone)
    blocks, stages = list(backbone.blocks()), list(backbone.stages())
    staged = [stage for stage in stages for _ in stage.blocks]
    if layer is None and pooling(model) != "cls" and _cells(stages[-1]) > 1:
        high, wide = stages[-1].grid
        return Place(model.backbone, False, stages[-1].grid, 0, f"the backbone's last map, {wide} x {high}")
    if layer is None:
        number = max((n for n, stage in enumerate(staged) if _cells(stage) > 1), default=len(blocks) - 1)
    else:
        number = resolve(layer, len(blocks), "layer")
    block, stage = blocks[number], staged[number]
    attention = _attention(block)
    entering = attention is not None or pooling(model) == "cls"
    what = "what layer {} (of 0 to {}) {}, {} x {}"
    verb = "attends to" if attention is not None else "is given" if entering else "returns"
    words = what.format(number, len(blocks) - 1, verb, *reversed(stage.grid))
    return Place(block if attention is None else attention, entering, stage.grid, stage.prefix, words)


def find_finer_place(model: Explainable, layer: int | None) -> Place:
    """The same for methods that weight every cell by its own gradient: by default the end of the stage before the last.

    Near the answer what a cell holds is no longer its own: attention has spread it, or wide receptive fields have, and
    the last map of a hierarchy is coarse besides. Of a model of one stage it is where `find_place` says.

    Raises UsageError for a layer out of range.
    """
    stages = list(cast(Backbone, model.backbone).stages())
    finer = [number for number, stage in enumerate(stages[:-1]) if stage.blocks and _cells(stage) > 1]
    if layer is None and finer:
        layer = sum(len(stage.blocks) for stage in stages[: finer[-1] + 1]) - 1
    return find_place(model, layer)


def map_and_gradient(model: Explainable, images: Tensor, target: Target, place: Place) -> tuple[Tensor, Tensor]:
    """The map there and d score / d map: images (B, C, H, W) -> (B, D, h, w) float32 each.

    Raises UsageError where what is there does not stand on the grid, or the answer does not depend on it.
    """
    found = [
        _one_chunk(model, images[chosen], rows(target, chosen), place)
        for chosen in chunks(len(images), images.shape[2:], BACKWARD)
    ]
    values, gradients = zip(*found, strict=True)
    return torch.cat(values), torch.cat(gradients)


def _one_chunk(model: Explainable, images: Tensor, target: Target, place: Place) -> tuple[Tensor, Tensor]:
    seen: list[Tensor] = []
    here = threading.get_ident()

    def note(held: Any) -> None:
        if threading.get_ident() == here:  # another thread may be predicting with the same model
            seen.append(held_by(held, place.grid))

    if place.entering:
        hook = place.module.register_forward_pre_hook(lambda module, args: note(args[0]))
    else:
        hook = place.module.register_forward_hook(lambda module, args, output: note(output))
    try:
        with evaluating(model), torch.inference_mode(False), torch.enable_grad():
            pixels = images.detach().clone().requires_grad_()  # so that there is a graph where parameters are frozen
            scores = score(model, pixels, target)
            inner = seen[0]  # what is recomputed in the backward pass comes by again
            gradient = gradient_of(scores, inner)
    finally:
        hook.remove()
    return on_grid(inner.detach(), place).float(), on_grid(gradient, place).float()


def held_by(passing: Any, grid: tuple[int, int]) -> Tensor:
    """The tensor to look at in what a module takes or returns.

    Of `Features` the map that the head reads: the last of the pyramid where it was asked for and stands on the last
    grid, else the tokens. The two are not always one in the graph.
    """
    if isinstance(passing, Features):
        last = passing.pyramid[-1] if passing.pyramid else passing.tokens
        return last if last.ndim == 4 and tuple(last.shape[2:]) == grid else passing.tokens
    first = passing[0] if isinstance(passing, tuple) else passing
    assert isinstance(first, Tensor)
    return first


def on_grid(held: Tensor, place: Place) -> Tensor:
    """Tokens (B, K + N, D) or a map with channels first or last -> (B, D, h, w)."""
    high, wide = place.grid
    leading = held.shape[1] - high * wide
    if held.ndim == 3 and leading in (0, place.prefix):  # CaiT's prefix joins the patches after their last block
        return held[:, leading:].transpose(1, 2).reshape(len(held), -1, high, wide)
    if held.ndim == 4 and tuple(held.shape[2:]) == place.grid:
        return held
    if held.ndim == 4 and tuple(held.shape[1:3]) == place.grid:
        return held.permute(0, 3, 1, 2)
    raise UsageError(f"{tuple(held.shape)} is no map of {wide} x {high} cells ({place.words}): choose another layer")


def _attention(block: nn.Module) -> nn.Module | None:
    """The module of a block that owns its attention, where that can be seen."""
    owners = (part for part in block.modules() if any(isinstance(own, ScaledDotProduct) for own in part.children()))
    return next(owners, None)


def _cells(stage: Stage) -> int:
    return stage.grid[0] * stage.grid[1]
