"""What a model at one image size takes before it is run: tokens, FLOPs, memory, and every call of attention."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from vitrail.assemble import VisionModel, create_model
from vitrail.contracts import Backbone
from vitrail.cost.kernels import attention_flops
from vitrail.cost.memory import Setting, memory
from vitrail.cost.trace import Kernels, Precision, trace
from vitrail.errors import UsageError
from vitrail.layers.attention import ScaledDotProduct

CLASSES = 1000


@dataclass(frozen=True)
class Operand:
    """A tensor that attention's inner operation is given. strides: of its elements.  learns: whether it has a gradient
    in training."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    learns: bool


Kind = tuple[Operand, Operand, Operand, Operand | None]
"""Queries, keys, values and bias of one call."""


@dataclass(frozen=True)
class Counted:
    """A model at one image size. FLOPs and tokens are of one image; two FLOPs for each multiply-accumulate.

    size: pixels a side.  tokens: cells of the first grid, N.  attention_flops: of both products of attention, forward.
    calls: of attention's inner operation in one pass over the batch, and how often each is made.  standing: bytes of
    weights and of what AdamW keeps.  step_memory: bytes that a training step takes at its fullest instant, predicted.
    """

    model: str
    size: int
    batch: int
    tokens: int
    parameters: int
    forward_flops: int
    step_flops: int
    attention_flops: int
    calls: tuple[tuple[Kind, int], ...]
    weights: int
    standing: int
    step_memory: int


def sketch(model: str, size: int) -> VisionModel:
    """The model without memory. Raises UsageError for a size that its patch does not divide, or that is no size for it.

    A window that is wider than the whole first grid would be no window: attention there would be global, and a curve
    from it on that of another model.
    """
    with torch.device("meta"):
        made = create_model(model, outputs=CLASSES, image_size=size)
    height, width = cast(Backbone, made.backbone).stages()[0].grid
    window = window_of(made.backbone)
    if window > min(height, width):
        patch = size // width
        raise UsageError(
            f"{model} at {size} px: its first grid has {height} x {width} cells and its windows are {window} wide, so"
            f" nothing would be cut into windows: take {window * patch} px or more"
        )
    return made


def window_of(backbone: nn.Module) -> int:
    """Side in tokens of the windows of a backbone's first stage; 0 where it has none."""
    config = getattr(backbone, "config", None)
    return int(getattr(config, "window", 0) or 0)


def count(model: str, size: int, batch: int, precision: Precision, device: str) -> Counted:
    """Count a model at one size for batches of so many images. Nothing is allocated; a second or a few."""
    made = sketch(model, size)
    backbone = cast(Backbone, made.backbone)
    calls = _calls(made, batch, size)
    kernels: Kernels = "cuda" if device == "cuda" else "cpu"
    tokens = backbone.stages()[0].grid[0] * backbone.stages()[0].grid[1]
    parameters = sum(p.numel() for p in made.parameters())
    step = trace(made, precision=precision, kernels=kernels)
    parts = memory(step, batch, Setting(kernels))
    weights = step.weights + step.buffers
    return Counted(
        model, size, batch, tokens, parameters, step.forward_flops, step.step_flops,
        sum(_flops(kind) * times for kind, times in calls.items()) // batch, tuple(calls.items()),
        weights, weights + parts["optimizer"], sum(parts.values()),
    )  # fmt: skip


def _calls(made: VisionModel, batch: int, size: int) -> Counter[Kind]:
    """Every call of attention's inner operation in a forward pass, by its operands."""
    found: Counter[Kind] = Counter()

    def note(module: nn.Module, args: tuple[Tensor | None, ...]) -> None:
        q, k, v, bias = (None if tensor is None else _operand(tensor) for tensor in args)
        assert q is not None, "every call has queries"
        assert k is not None, "and keys"
        assert v is not None, "and values"
        found[q, k, v, bias] += 1

    hooks = [part.register_forward_pre_hook(note) for part in made.modules() if isinstance(part, ScaledDotProduct)]
    try:
        backbone: Any = made.backbone
        made.eval()(torch.empty(batch, backbone.in_channels, size, size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _operand(tensor: Tensor) -> Operand:
    return Operand(tuple(tensor.shape), tensor.stride(), tensor.requires_grad)


def _flops(kind: Kind) -> int:
    q, k, v = (torch.empty(operand.shape, device="meta") for operand in kind[:3])
    return attention_flops(q, k, v)
