"""What every token of one image looked at, in every layer and head, as the attention modules computed it.

Weights are kept token by token, with the layout that lays them over cells: windows and reduced keys are small that way,
and a page can lay them out itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from vitrail.contracts import Backbone, Pixels, Stage
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.attention import attend
from vitrail.explain.explainable import Explainable, cell_side, readers, unsuited
from vitrail.explain.explainer import Explained, centre_window
from vitrail.explain.layer import Layer
from vitrail.explain.viewer.pack import Steps, quantised

Span = tuple[float, float]
POOL = "pooling head"


@dataclass(frozen=True, eq=False)
class GazeLayer:
    """One call of attention of one image: its name in words, and what it attended to."""

    name: str
    layer: Layer

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(W, A, T_q, T_k)."""
        q, k = self.layer.call.q, self.layer.call.k
        return self.layer.layout.windows, self.layer.heads, q.shape[2], k.shape[2]

    def steps(self, mean: bool) -> Steps:
        """Weights (W, A, T_q, T_k) in whole steps, a few queries at a time; with `mean`, of the mean of the heads."""
        windows, heads, queries, keys = self.shape
        made = np.empty((windows, 1 if mean else heads, queries, keys), np.uint8)
        for places, weights in self.layer.queries():
            chosen = weights[0].mean(dim=1, keepdim=True) if mean else weights[0]  # (W, A, Q, T_k)
            made[:, :, places.cpu().numpy()] = quantised(chosen.float().cpu().numpy())
        return made


@dataclass(frozen=True, eq=False)
class Gaze:
    """layers: in order, a pooling head's last.  stages: the backbone's.  spans: of each stage, how far its grid reaches
    down and across, as parts of the image; more than 1 where the last cells stand partly beyond it.  readers: the
    prefix tokens of the last stage that the head reads, by place; none where it reads all patches.  prefix_names: of
    the last stage's tokens.
    """

    layers: tuple[GazeLayer, ...]
    stages: Sequence[Stage]
    spans: tuple[Span, ...]
    readers: tuple[int, ...]
    prefix_names: tuple[str, ...]

    def weights(self, mean: bool) -> int:
        """How many numbers `steps` of all layers are."""
        return sum(int(np.prod(layer.shape)) // (layer.shape[1] if mean else 1) for layer in self.layers)


def gaze(artifact: Explained, pixels: Pixels) -> Gaze | None:
    """Where the tokens of one image (height, width, C) look; None where the model has no attention that can be seen.

    Of an image that is looked at in windows, the one at its centre.
    """
    model: Any = artifact.model
    return None if unsuited(model) else watch(model, prepared(artifact, pixels))


def prepared(artifact: Explained, pixels: Pixels) -> torch.Tensor:
    """One image (height, width, C) as the model takes it, (1, C, H, W), on its device.

    Of an image that is looked at in windows, the one at its centre.
    """
    window = centre_window(artifact.preprocessor.canvas(*pixels.shape[:2]), artifact.preprocessor.windows)
    ready = np.ascontiguousarray(artifact.preprocessor(pixels)[None, :, *window])  # (1, C, H, W)
    return torch.from_numpy(ready).to(next(artifact.model.parameters()).device)


def watch(model: Explainable, image: torch.Tensor) -> Gaze:
    """The same of a prepared image (1, C, H, W); the model is left as it was found."""
    attention = attend(model, image)
    backbone = cast(Backbone, model.backbone)
    layers = [GazeLayer(f"layer {number}", layer) for number, layer in enumerate(attention.layers)]
    if attention.pool is not None:
        layers.append(GazeLayer(POOL, attention.pool))
    spans = tuple(_span(model, stage.grid) for stage in attention.stages)
    return Gaze(tuple(layers), attention.stages, spans, readers(model), backbone.prefix_names)


def _span(model: Explainable, grid: tuple[int, int]) -> Span:
    side, size = cell_side(model, grid), cast(Backbone, model.backbone).image_size
    return (grid[0] * side / size[0], grid[1] * side / size[1]) if side else (1.0, 1.0)


def photo(preprocessor: Preprocessor, pixels: Pixels) -> Pixels:
    """What the model is shown of an image, (height, width, C), as sharp as the image is: cut, padded, stretched alike.

    Of an image that is looked at in windows, the one at the centre.
    """
    if preprocessor.windows:
        return preprocessor.fit(pixels)[centre_window(preprocessor.canvas(*pixels.shape[:2]), preprocessor.windows)]
    geometry = preprocessor.geometry(*pixels.shape[:2])
    (left, top, right, bottom), place = geometry.box, geometry.place
    finer = max(1, int(min((right - left) / (place[2] - place[0]), (bottom - top) / (place[3] - place[1]))))
    height, width = preprocessor.size
    return preprocessor.model_copy(update={"size": (finer * height, finer * width)}).fit(pixels)
