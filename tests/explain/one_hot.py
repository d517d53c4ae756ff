"""An oracle for attention across stages: one-hot tokens are sent through the models' own modules, one for each token.

What stands around the softmax of an attention module (windows, rolling, padding, reduction, heads) is run as it is,
with projections that pass on what they get and convolutions that average. Layouts and cell maps have no part in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.assemble import VisionModel
from vitrail.explain.recorder import Call, record
from vitrail.explain.target import Target
from vitrail.layers.reduction import ReducingEmbed, as_tokens
from vitrail.layers.shifted_windows import quartets

Form = Callable[[Call], Tensor]
"""What of a call is followed: (B, W * A, T_q, T_k)."""


class _Copies(nn.Module):
    """Tokens -> the same side by side, zeros before them: what queries, keys and values are projected to at once."""

    def __init__(self, zeros: int) -> None:
        super().__init__()
        self.zeros = zeros

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x)] * self.zeros + [x], dim=-1)


class _Given(nn.Module):
    """Weights that are given, instead of those of queries and keys."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        return self.weights @ v


class _Mean(nn.Module):
    """The mean under a kernel that is its stride: (B, D, h, w) -> (B, D, h', w')."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.side)


def matrix(attention: nn.Module, grid: tuple[int, int], tokens: int, weights: Tensor) -> Tensor:
    """Weights of one image (W * A, T_q, T_k) as that module puts them to use: (tokens, tokens), the mean of heads."""
    twin = cast(Any, copy.deepcopy(attention))
    width = twin.proj.in_features
    twin.core, twin.proj = _Given(weights), nn.Identity()
    if hasattr(twin, "qkv"):
        twin.qkv = _Copies(2)
        if hasattr(twin, "v_bias"):
            nn.init.zeros_(twin.v_bias)
    else:
        twin.q, twin.kv = nn.Identity(), _Copies(1)
    if getattr(twin, "sr", None) is not None:
        twin.sr, twin.norm = _Mean(twin.ratio), nn.Identity()
    ones = torch.eye(tokens, dtype=weights.dtype)[:, :, None].expand(-1, -1, width)  # image n is hot at token n
    with torch.no_grad():
        seen = twin(ones, grid) if hasattr(twin, "kv") else twin(ones)
    return cast(Tensor, seen.mean(dim=-1).T)


def transition(module: nn.Module, before: tuple[int, int]) -> Tensor:
    """What makes the tokens of a stage of those of the one before, as a mean: (N, N before)."""
    count = before[0] * before[1]
    hot = torch.eye(count).reshape(count, 1, *before)
    embeds = [part for part in module.modules() if isinstance(part, ReducingEmbed)]
    if embeds:
        (embed,) = embeds
        twin = cast(Any, copy.deepcopy(embed))
        twin.proj = nn.Conv2d(1, 1, embed.kernel, embed.stride, embed.padding, bias=False)
        nn.init.ones_(twin.proj.weight)
        twin.norm = nn.Identity()
        with torch.no_grad():
            reached = twin(hot)[..., 0].T
    else:
        reached = quartets(as_tokens(hot), before).sum(dim=-1).T
    return reached / reached.sum(dim=1, keepdim=True)


def product(model: VisionModel, calls: Sequence[Call], form: Form, image: int, renormalise: bool) -> Tensor:
    """Last grid's tokens over the first grid's patches, for one image: (I + A_l), rows divided by their sums or not."""
    stages = model.backbone.stages()
    made = torch.eye(stages[0].prefix + stages[0].grid[0] * stages[0].grid[1])
    own = iter(call for call in calls if call.name.startswith("backbone."))
    for number, stage in enumerate(stages):
        tokens = stage.prefix + stage.grid[0] * stage.grid[1]
        if number:
            assert stage.merge is not None
            entered = transition(stage.merge, stages[number - 1].grid) @ made
            made = torch.cat([torch.zeros(stage.prefix, made.shape[1]), entered])
        for _ in stage.blocks:
            call = next(own)
            mixed = torch.eye(tokens) + matrix(call.module, stage.grid, tokens, form(call)[image])
            made = (mixed / mixed.sum(dim=1, keepdim=True) if renormalise else mixed) @ made
    return made[:, stages[0].prefix :]


def observed(model: VisionModel, images: Tensor) -> list[Call]:
    """Every call of attention of an ordinary pass."""
    with record(model) as recording, torch.no_grad():
        model(images)
    return recording.calls


def differentiated(model: VisionModel, images: Tensor, target: Target) -> tuple[list[Call], dict[str, Tensor]]:
    """Calls in differentiable mode, and by name d score / d weights of each, by automatic differentiation."""
    with record(model, differentiable=True) as recording:
        score = target.score(model(images)).sum()
    weights = [call.weights for call in recording.calls]
    gradients = torch.autograd.grad(score, weights)
    return recording.calls, {call.name: grad for call, grad in zip(recording.calls, gradients, strict=True)}
