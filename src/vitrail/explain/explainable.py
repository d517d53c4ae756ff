"""What explanations read of a model, and what can be known of it before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, SupportsIndex, cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features, Task
from vitrail.errors import UsageError
from vitrail.layers.attention import ScaledDotProduct
from vitrail.layers.foreign import stride_of


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


def has_attention(model: Explainable) -> bool:
    """Whether the backbone attends at all, in a way that can be seen."""
    return any(isinstance(module, ScaledDotProduct) for module in model.backbone.modules())


def attending(model: Explainable) -> list[tuple[nn.Module, int]]:
    """The blocks that attend, in order, each with the number of its stage: the layers of methods by attention."""
    stages = cast(Backbone, model.backbone).stages()
    return [
        (block, number)
        for number, stage in enumerate(stages)
        for block in stage.blocks
        if any(isinstance(module, ScaledDotProduct) for module in block.modules())
    ]


def unseen(model: Explainable) -> str:
    """What a model lacks for its attention to be shown, in words; "" where it lacks nothing."""
    name = type(model.backbone).__name__
    if not has_attention(model):
        return f"{name} has no attention{' that can be seen' if _attends_unseen(model) else ''}"
    stages = cast(Backbone, model.backbone).stages()
    if all(stages[number].grid == (1, 1) for _, number in attending(model)):
        return f"{name} has one cell for the whole image here"
    return ""


def unsuited(model: Explainable) -> str:
    """Why attention cannot explain a model, in words; "" where it can."""
    if not (lack := unseen(model)):
        return ""
    if has_attention(model):
        return f"{lack}: this method tells no places apart"
    whose = "Vitrail's own transformers" if _attends_unseen(model) else "transformers"
    return f"{lack}: this method explains {whose} only"


def _attends_unseen(model: Explainable) -> bool:
    return bool(getattr(model.backbone, "attends_unseen", False))


def pooling(model: Explainable) -> str:
    """How the head reads the tokens: "cls", "mean", "map" or "seq"; "" where it answers for each place by itself."""
    return "" if model.task.dense else model.pooling


READ = ("cls", "dist")
"""Prefix tokens that heads read, one or both; registers are nobody's."""


def readers(model: Explainable, reader: str | None = None) -> tuple[int, ...]:
    """The prefix tokens of the last stage that the answer is read from, by place; none where it is read from patches.

    reader: the name of the one that is asked for. Raises UsageError where the model does not have it, or answers for
    every pixel, for which nobody reads such a token.
    """
    names = cast(Backbone, model.backbone).prefix_names
    if reader is None:
        return tuple(n for n, name in enumerate(names) if pooling(model) == "cls" and name in READ)
    if reader not in names:
        has = f"it has {', '.join(dict.fromkeys(names))}" if names else "it has none"
        raise UsageError(f"no token '{reader}' to read from in this model: {has}")
    if model.task.dense:
        raise UsageError("a model that answers for every pixel reads no such token: leave the reader out")
    return (names.index(reader),)


def unread(model: Explainable, reader: str) -> bool:
    """Whether the head reads nothing of a prefix token: attention can be followed from there, the answer is not its.

    Raises UsageError as `readers` does.
    """
    return readers(model, reader)[0] not in readers(model)


def resolve(index: int, count: int, kind: str) -> int:
    """A layer or head as given, negative from the end, -> its place; UsageError with the range when out of it."""
    if not isinstance(index, SupportsIndex):
        raise UsageError(f"a {kind} is a number, 0 to {count - 1} here, not {index!r}")
    if not -count <= index < count:
        raise UsageError(f"no {kind} {index}: this model has {count}, 0 to {count - 1} (or -{count} to -1)")
    return index % count


def cell_side(model: Explainable, grid: tuple[int, int]) -> int:
    """Pixels along a side of the cells of a grid of the backbone; 0 where they are not squares of whole pixels.

    A grid whose last cells stand partly beyond the image is cut at strides that the backbone declares.
    """
    backbone = cast(Backbone, model.backbone)
    size = backbone.image_size
    declared = backbone.strides if len(backbone.stages()) > 1 else ()
    for stride in declared:
        if (-(-size[0] // stride), -(-size[1] // stride)) == grid:
            return stride
    if size[0] * grid[1] == size[1] * grid[0] and size[0] % grid[0] == 0:
        return size[0] // grid[0]
    return stride_of(grid, size)


def on_pixels(token_map: Tensor, size: tuple[int, int], side: int = 0) -> Tensor:
    """A map over a grid (B, h, w) -> (B, H, W) float32: every pixel has the value of its cell.

    No value is invented between cells and equal cells stay equal. side: pixels along a side of a cell, where the last
    cells may stand partly beyond the image; 0 spreads the grid over the image evenly.
    """
    if side:
        spread = token_map.float().repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
        return spread[:, : size[0], : size[1]].contiguous()
    return torch.nn.functional.interpolate(token_map[:, None].float(), size=size, mode="nearest")[:, 0]


def over_cells(region: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """A region of pixels (B, H, W) bool -> the share of it that lies in each cell, (B, h * w) float32.

    Rows sum to 1; a region without a pixel is the whole image.
    """
    inside = region.float()
    inside = torch.where(inside.sum(dim=(1, 2), keepdim=True) > 0, inside, torch.ones_like(inside))
    if side:
        high, wide = (cells * side - pixels for cells, pixels in zip(grid, region.shape[1:], strict=True))
        held = torch.nn.functional.pad(inside, (0, wide, 0, high)).unfold(1, side, side).unfold(2, side, side)
        counted = held.sum(dim=(3, 4))  # (B, h, w)
    else:
        counted = torch.nn.functional.adaptive_avg_pool2d(inside[:, None], grid)[:, 0]
    return (counted / counted.sum(dim=(1, 2), keepdim=True)).flatten(1)
