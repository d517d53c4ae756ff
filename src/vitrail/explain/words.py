"""Which layers and heads a map by attention is of, in words for captions."""

from __future__ import annotations

from typing import cast

from vitrail.contracts import Backbone
from vitrail.explain.explainable import Explainable, attending, pooling, resolve


def of_layer(model: Explainable, layer: int | None, head: int | None) -> str:
    """One layer, as `Attention.layer` chooses it, or the pooling head; and its heads. Grids where they differ."""
    heads = "mean of heads" if head is None else f"head {head}"
    if layer is None and pools_by_attention(model):
        return f"pooling head, {heads}"
    return f"layer {_place(model, layer)} (of 0 to {len(attending(model)) - 1}){_grid(model, layer)}, {heads}"


def of_layers(model: Explainable, last: int | None) -> str:
    """All layers from the first to one, heads averaged."""
    count = len(attending(model))
    place = resolve(-1 if last is None else last, count, "layer")
    some = f"layers 0 to {place}" if place else "layer 0"
    through = some if place < count - 1 else f"all {count} layers" if place else "the one layer"
    return f"{through}, mean of heads"


def pools_by_attention(model: Explainable) -> bool:
    """Whether the head attends to the patches itself."""
    return pooling(model) in ("map", "seq")


def _place(model: Explainable, layer: int | None) -> int:
    layers = attending(model)
    if layer is not None:
        return resolve(layer, len(layers), "layer")
    stages = cast(Backbone, model.backbone).stages()
    return max(number for number, (_, stage) in enumerate(layers) if stages[stage].grid != (1, 1))


def _grid(model: Explainable, layer: int | None) -> str:
    stages = cast(Backbone, model.backbone).stages()
    if len(stages) == 1:
        return ""
    height, width = stages[attending(model)[_place(model, layer)][1]].grid
    return f" on {height} x {width} cells"
