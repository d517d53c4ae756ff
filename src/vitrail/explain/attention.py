"""The attention of one pass, sorted: which weights belong to which encoder block, and which to the pooling head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features, Task
from vitrail.errors import UsageError
from vitrail.explain.record import Call, record
from vitrail.layers.attention import AttentionLayout, ScaledDotProduct


class Explainable(Protocol):
    """The part of a model that explanations read: `assemble.VisionModel` is one."""

    backbone: nn.Module
    head: nn.Module
    task: Task
    pooling: str
    training: bool

    def features(self, images: Tensor, pyramid: bool = False) -> Features:
        """What the backbone says of the images."""

    def answer(self, features: Features, size: Sequence[int]) -> Tensor:
        """The head's outputs, of images of (H, W) pixels."""

    def eval(self) -> nn.Module:
        """To evaluation mode."""

    def train(self, mode: bool = True) -> nn.Module:
        """To training mode, or back."""


@dataclass(frozen=True)
class Attention:
    """blocks: weights of each encoder block, (B, A, T, T), T = K + N.  pool: of the pooling head, (B, A, 1, N), or None
    where the head does not attend.  outputs: the model's, (B, Y) or (B, Y, H, W).  features: what the backbone
    returned.  reader: the token that the head reads, or None where it reads all patches.
    """

    blocks: tuple[Tensor, ...]
    pool: Tensor | None
    outputs: Tensor
    features: Features
    reader: int | None

    def from_reader(self, matrix: Tensor) -> Tensor:
        """Rows of (..., T, T) that the head reads from, over the patches only: (..., h, w).

        The row of [CLS] where the head reads that, else the mean of all patches' rows.
        """
        prefix = self.features.prefix.shape[1]
        rows = matrix[..., prefix:, :].mean(dim=-2) if self.reader is None else matrix[..., self.reader, :]
        return self.on_grid(rows[..., prefix:])

    def on_grid(self, rows: Tensor) -> Tensor:
        """A value per patch (..., N) -> (..., h, w)."""
        return rows.reshape(*rows.shape[:-1], *self.features.grid)


def attend(model: Explainable, images: Tensor, differentiable: bool = False) -> Attention:
    """Run images (B, C, H, W) through a model in evaluation mode and keep its attention.

    Raises UsageError where the backbone has no attention, works on several grids, or where its tokens do not stand one
    on each cell of its grid.
    """
    backbone = cast(Backbone, model.backbone)
    if why := unsuited(model):
        raise UsageError(why)
    whole = nn.ModuleDict({"backbone": model.backbone, "head": model.head})
    was_training = model.training
    model.eval()
    try:
        with record(whole, differentiable) as recording, torch.set_grad_enabled(differentiable):
            features = model.features(images, pyramid=model.task.dense)
            outputs = model.answer(features, images.shape[2:])
    finally:
        model.train(was_training)
    places = {id(module): n for n, block in enumerate(backbone.blocks()) for module in block.modules()}
    blocks = [call for call in recording.calls if id(call.module) in places]
    heads = [call for call in recording.calls if call.name.startswith("head.")]
    for call in blocks:
        _check_plain(call.layout(features.grid))
    reads_cls = pooling(model) == "cls" and "cls" in backbone.prefix_names
    return Attention(
        tuple(call.weights for call in sorted(blocks, key=lambda call: places[id(call.module)])),
        _pool(heads),
        outputs,
        features,
        backbone.prefix_names.index("cls") if reads_cls else None,
    )


def unsuited(model: Explainable) -> str:
    """Why attention cannot explain a model, in words; "" where it can."""
    backbone = cast(Backbone, model.backbone)
    name = type(backbone).__name__
    if not has_attention(model):
        whose = "Vitrail's own transformers" if getattr(backbone, "attends_unseen", False) else "transformers"
        what = "has no attention that can be seen" if whose != "transformers" else "has no attention"
        return f"{name} {what}: this method explains {whose} only"
    if len(backbone.stages()) > 1:
        grids = " then ".join(f"{height} x {width}" for height, width in (stage.grid for stage in backbone.stages()))
        return f"{name} attends on grids of {grids}: this method needs one grid from first to last"
    return ""


def has_attention(model: Explainable) -> bool:
    """Whether the backbone attends at all."""
    return any(isinstance(module, ScaledDotProduct) for module in model.backbone.modules())


def pooling(model: Explainable) -> str:
    """How the head reads the tokens: "cls", "mean", "map" or "seq"; "" where it answers for each place by itself."""
    return "" if model.task.dense else model.pooling


def depth(model: Explainable) -> int:
    """L: the number of encoder blocks."""
    return len(cast(Backbone, model.backbone).blocks())


def resolve(index: int, count: int, kind: str) -> int:
    """A layer or head as given, negative from the end, -> its place; UsageError with the range when out of it."""
    if not -count <= index < count:
        raise UsageError(f"no {kind} {index}: this model has {count}, 0 to {count - 1} (or -{count} to -1)")
    return index % count


def on_pixels(token_map: Tensor, size: tuple[int, int]) -> Tensor:
    """A map over the token grid (B, h, w) -> (B, H, W) float32: every pixel has the value of its patch.

    Nearest, so that no value is invented between patches and equal patches stay equal.
    """
    return torch.nn.functional.interpolate(token_map[:, None].float(), size=size, mode="nearest")[:, 0]


def _pool(calls: list[Call]) -> Tensor | None:
    return calls[-1].weights if calls else None


def _check_plain(layout: AttentionLayout) -> None:
    """Rows and columns of a block's weights must be the same tokens, one a cell, for blocks to be chained."""
    if layout.queries is not None or layout.keys is not None:
        raise UsageError("this method needs attention over the whole grid, which this model's blocks do not have")
