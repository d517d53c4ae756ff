"""The pre-norm encoder block and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import SelfAttention
from vitrail.layers.initialise import Draw, constant

Activation = Literal["gelu", "gelu_tanh"]
"""GELU by the error function, as in every PyTorch port, or by its tanh approximation, as in Flax. They differ by up to
5e-4 per activation, so a checkpoint carries which one it was trained with."""


def activate(x: Tensor, activation: Activation) -> Tensor:
    """GELU (arXiv 1606.08415)."""
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class Mlp(nn.Module):
    """Two linear layers with a GELU between: (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(activate(self.fc1(x), self.activation))  # (B, T, M) -> (B, T, D)
        return out


class LayerScale(nn.Module):
    """A learned factor per channel of a residual branch (CaiT, arXiv 2103.17239)."""

    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.value = value
        self.gamma = nn.Parameter(torch.empty(width))

    def initialisers(self) -> Mapping[str, Draw]:
        return {"gamma": constant(self.value)}

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, drops the branch of a sample with probability `rate`.

    Kept branches are divided by 1 - rate, so that the expectation is the branch itself.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        out: Tensor = x * keep.to(x) / (1 - self.rate)
        return out


class Block(nn.Module):
    """x + MHSA(LN(x)), then x + MLP(LN(x)) (ViT, equations 2 and 3): (B, T, D) -> (B, T, D)."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, prefix: int, eps: float, qkv_bias: bool,
        layer_scale: float | None, drop_path: float, activation: Activation = "gelu",
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = SelfAttention(width, heads, prefix, qkv_bias)
        self.scale1 = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden, activation)
        self.scale2 = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x))))  # (B, T, D)
        out: Tensor = x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))  # (B, T, D)
        return out
