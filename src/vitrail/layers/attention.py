"""softmax(QK^T / sqrt(d)) V, in one place.

`ScaledDotProduct` is a parameter-free leaf that every attention of the package calls. Ordinary passes take PyTorch's
fused kernel; whoever wants to see the weights hooks this module, and the models know nothing of it. Global, windowed
and spatially reduced attention differ only in who may look at whom, which an attention module says in its `layout`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class AttentionLayout:
    """Where the tokens of an attention call stand on the image's token grid.

    grid: (h, w).  prefix_queries, prefix_keys: leading tokens that stand nowhere on it (CLS, registers, a pooling
    probe).  queries (T_q - prefix_queries, h * w) and keys (T_k - prefix_keys, h * w): row-stochastic maps from the
    other tokens to cells, in raster order; None is the identity, one token a cell.
    """

    grid: tuple[int, int]
    prefix_queries: int = 0
    prefix_keys: int = 0
    queries: Tensor | None = None
    keys: Tensor | None = None

    def on_grid(self, weights: Tensor) -> Tensor:
        """Attention (..., T_q, T_k) -> (..., T_q, prefix_keys + h * w): keys laid out on the grid, row sums kept."""
        if self.keys is None:
            return weights
        cells = weights[..., self.prefix_keys :] @ self.keys.to(weights)
        return torch.cat([weights[..., : self.prefix_keys], cells], dim=-1)


class ScaledDotProduct(nn.Module):
    """Attention's inner operation: queries (B, A, T_q, d), keys and values (B, A, T_k, d) -> (B, A, T_q, d).

    bias, broadcastable to (B, A, T_q, T_k), is added before the softmax; -inf hides a key. No parameters, no state.
    Callers pass all four by position, None too, so that a hook always finds (q, k, v, bias).
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix that `ScaledDotProduct` never forms: softmax(QK^T / sqrt(d) + bias), (B, A, T_q, T_k)."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, A, T_q, T_k)
    return torch.softmax(scores if bias is None else scores + bias, dim=-1)


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): every token looks at every token. (B, T, D) -> (B, T, D).

    prefix: K, the number of leading tokens that are no patches. width must be a multiple of heads.
    """

    def __init__(self, width: int, heads: int, prefix: int = 0, qkv_bias: bool = True) -> None:
        super().__init__()
        assert width % heads == 0, "the config checks this"
        self.heads, self.prefix = heads, prefix
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.core = ScaledDotProduct()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, A, T, d)
        y = self.core(q, k, v, None)  # (B, A, T, d)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))  # (B, T, D)
        return out

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """One token a cell, prefix tokens first."""
        return AttentionLayout(grid, self.prefix, self.prefix)
