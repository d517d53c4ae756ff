"""The pre-norm encoder block and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import SelfAttention
from vitrail.layers.initialise import Draw, constant
from vitrail.layers.norm import Norm, normalise

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


@dataclass(frozen=True)
class BlockShape:
    """What a block is made of: A heads, an MLP of hidden width M, and its norms.

    qkv_bias, qk_norm, locality: of its attention.  layer_scale: the first value of LayerScale, 0 for none.
    """

    width: int
    heads: int
    hidden: int
    eps: float = 1e-6
    activation: Activation = "gelu"
    norm: Norm = "layer"
    qkv_bias: bool = True
    qk_norm: bool = False
    layer_scale: float = 0.0
    locality: bool = False

    def attention(self, prefix: int) -> SelfAttention:
        """Self-attention over K = prefix tokens and the patches."""
        made = (self.width, self.heads, prefix, self.qkv_bias, self.qk_norm, self.norm, self.eps, self.locality)
        return SelfAttention(*made)

    def scale(self) -> nn.Module:
        """What a residual branch ends with."""
        return LayerScale(self.width, self.layer_scale) if self.layer_scale else nn.Identity()


@runtime_checkable
class OfBlocks(Protocol):
    """A backbone whose blocks are all alike; a head that attends to its tokens is made as they are."""

    def block_shape(self) -> BlockShape:
        """What its blocks are made of."""


class Block(nn.Module):
    """x + MHSA(LN(x)), then x + MLP(LN(x)) (ViT, equations 2 and 3): (B, T, D) -> (B, T, D)."""

    def __init__(self, shape: BlockShape, prefix: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = normalise(shape.norm, shape.width, shape.eps)
        self.attn = shape.attention(prefix)
        self.scale1 = shape.scale()
        self.norm2 = normalise(shape.norm, shape.width, shape.eps)
        self.mlp = Mlp(shape.width, shape.hidden, shape.activation)
        self.scale2 = shape.scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x))))  # (B, T, D)
        out: Tensor = x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))  # (B, T, D)
        return out


class ParallelBlock(nn.Module):
    """x + MLP(LN(x)) + MHSA(LN(x)), one norm for both (ViT-22B, arXiv 2302.05442, section 2): (B, T, D) -> (B, T, D).

    Stochastic depth drops both branches of a sample or neither.
    """

    def __init__(self, shape: BlockShape, prefix: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = normalise(shape.norm, shape.width, shape.eps)
        self.attn = shape.attention(prefix)
        self.scale1 = shape.scale()
        self.mlp = Mlp(shape.width, shape.hidden, shape.activation)
        self.scale2 = shape.scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        out: Tensor = x + self.drop_path(self.scale1(self.attn(y)) + self.scale2(self.mlp(y)))  # (B, T, D)
        return out
