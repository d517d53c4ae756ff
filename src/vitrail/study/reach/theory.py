"""Which pixels can count at all in what a cell becomes: the theoretical receptive field, found by the model's own code.

A copy of the model is given weights that are all positive, its norms and activations let everything pass, its attention
looks evenly at whom it may, and its maxima become means: no two paths can cancel then, so that a pixel has a gradient
just where a path leads from it to the cell.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.explain.explainable import Explainable
from vitrail.layers.attention import ScaledDotProduct
from vitrail.layers.window import FAR
from vitrail.study.reach.field import block_maps, central

Mask = np.ndarray[Any, np.dtype[np.bool_]]
PASSING = (
    nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish,
    nn.Dropout,
)  # fmt: skip
"""What mixes no places, save GroupNorm, which is taken as if it did not: statistics of a whole map are no path."""


def supports(model: Explainable) -> list[Mask]:
    """After each block, the pixels (H, W) from which a path leads to the central cell. The model is not touched."""
    made = copy.deepcopy(cast(nn.Module, model)).double().cpu().eval()
    for parameter in made.parameters():
        spread = parameter[0].numel() if parameter.ndim > 1 else 1
        nn.init.constant_(parameter.requires_grad_(False), 1 / spread)
    backbone: Any = made.backbone
    for module in (*made.modules(), *backbone.stem().modules()):  # a stem may share its parts, and stand aside
        if isinstance(module, PASSING):
            module.forward = _through  # type: ignore[method-assign]
        elif isinstance(module, ScaledDotProduct):
            module.forward = _evenly  # type: ignore[method-assign]
        elif isinstance(module, nn.MaxPool2d):
            mean = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            module.forward = mean.forward  # type: ignore[method-assign]
    pixels = torch.ones(1, backbone.in_channels, *backbone.image_size, dtype=torch.float64, requires_grad=True)
    _, maps = block_maps(cast(Explainable, made))
    found = maps(pixels)
    masks = []
    for number, held in enumerate(found):
        row, column = central((held.shape[2], held.shape[3]))
        cell = held[:, :, row, column].sum()
        (gradient,) = torch.autograd.grad(cell, pixels, retain_graph=number + 1 < len(found))
        masks.append((gradient[0].abs().sum(dim=0) > 0).numpy())
    return masks


def _through(x: Tensor) -> Tensor:
    return x


def _evenly(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """The mean of the values that a query may look at; FAR hides a key as well as -inf does, to one part in e^100."""
    allowed = q.new_zeros(*q.shape[:-1], k.shape[-2])
    if bias is not None:
        allowed = allowed.masked_fill(bias < FAR / 2, -torch.inf)
    return torch.softmax(allowed, dim=-1) @ v


def sides(mask: Mask) -> tuple[int, int]:
    """Height and width of the smallest box around the pixels that can count; (0, 0) where none can."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
