"""softmax(QK^T / sqrt(d)) V, in one place.

`ScaledDotProduct` is a parameter-free leaf that every attention of the package calls. Ordinary passes take PyTorch's
fused kernel; whoever wants to see the weights hooks this module, and the models know nothing of it. Global, windowed
and spatially reduced attention differ only in who may look at whom, which an attention module says in its `layout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.contracts import CellMap
from vitrail.layers.initialise import Draw, constant
from vitrail.layers.norm import Norm, normalise


@dataclass(frozen=True)
class AttentionLayout:
    """Where the tokens of an attention call stand on the grid of their stage.

    grid: (h, w).  windows: W; a call's weights are (B, W * A, T_q, T_k), window by window and in each its heads.
    prefix_queries, prefix_keys: leading tokens that stand nowhere on the grid (CLS, registers, a pooling probe).
    queries (W, T_q - prefix_queries) and keys (W, T_k - prefix_keys) tokens over cells; None is one token a cell.
    """

    grid: tuple[int, int]
    prefix_queries: int = 0
    prefix_keys: int = 0
    windows: int = 1
    queries: CellMap | None = None
    keys: CellMap | None = None

    def matrix(self, weights: Tensor) -> Tensor:
        """Attention (B, W * A, T_q, T_k) -> (B, A, prefix_queries + h * w, prefix_keys + h * w), cell by cell.

        Row sums are kept: what a token gives to one that stands for many cells is shared out among them, and padding,
        which attention must not have looked at, has no place. A cell that no query stands for has a row of zeros.
        """
        split = (len(weights), self.windows, -1, *weights.shape[2:])
        per_window = weights.reshape(split)  # (B, W, A, T_q, T_k)
        keys = None if self.keys is None else self.keys.dense().to(weights)  # (W, T_k, h w)
        if self.queries is None:
            over = per_window if keys is None else _keep(per_window, self.prefix_keys, keys[None, :, None])
            return over.sum(dim=1)
        places = self.grid[0] * self.grid[1]
        cells = self.queries.cells.to(weights.device) % (places + 1)  # the last is nowhere
        shares = self.queries.shares.to(weights)
        width = per_window.shape[4] if keys is None else self.prefix_keys + places
        rows = weights.new_zeros(len(weights), per_window.shape[2], self.prefix_queries + places + 1, width)
        for window in range(self.windows):  # one by one: all at once, most of what is summed would be zeros
            over = per_window[:, window]  # (B, A, T_q, T_k)
            if keys is not None:
                over = _keep(over, self.prefix_keys, keys[window])
            rows[:, :, : self.prefix_queries] += over[:, :, : self.prefix_queries]
            for several in range(cells.shape[2]):
                laid = over[:, :, self.prefix_queries :] * shares[window, :, several, None]
                rows.index_add_(2, self.prefix_queries + cells[window, :, several], laid)
        return rows[:, :, :-1]


def _keep(weights: Tensor, prefix: int, over: Tensor) -> Tensor:
    """Weights (..., T_k), whose first `prefix` keys stay, and the others go over cells (..., T_k - prefix, h * w)."""
    laid = weights[..., prefix:] @ over
    return torch.cat([weights[..., :prefix], laid], dim=-1) if prefix else laid


class ScaledDotProduct(nn.Module):
    """Attention's inner operation: queries (B, A, T_q, d), keys and values (B, A, T_k, d) -> (B, A, T_q, d).

    bias, broadcastable to (B, A, T_q, T_k), is added before the softmax; -inf hides a key. No parameters, no state.
    Callers pass all four by position, None too, so that a hook always finds (q, k, v, bias).
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if q.device.type == "cpu" and q.dtype is torch.bfloat16 and torch.is_grad_enabled():
            return _in_float32(q, k, v, bias)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _in_float32(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The same, with float32 inside: PyTorch's backward on a CPU takes 3 to 5 times as long in bfloat16.

    benchmarks/attention.py measures it.
    """
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=bias).to(q.dtype)


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix that `ScaledDotProduct` never forms: softmax(QK^T / sqrt(d) + bias), (B, A, T_q, T_k)."""
    scores = q / q.shape[-1] ** 0.5 @ k.transpose(-2, -1)  # (B, A, T_q, T_k)
    return torch.softmax(scores if bias is None else scores + bias, dim=-1)


class Locality(nn.Module):
    """What locality self-attention changes before queries meet keys: (B, A, T, d) -> the same, and a bias (T, T).

    The scores are divided by a learned temperature, tau = sqrt(d) at first, instead of by sqrt(d), and a token's score
    with itself is -inf (LSA, arXiv 2112.13492, equations 5 and 6). `scale` is 1 / tau, one a head, as in the authors'
    code: the core divides by sqrt(d) as ever, so the queries are multiplied by it.
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.scale = nn.Parameter(torch.empty(heads))

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        sharper = (self.scale * self.head_width**0.5).to(q.dtype)[:, None, None]  # (A, 1, 1)
        itself = torch.eye(q.shape[2], dtype=torch.bool, device=q.device)
        return q * sharper, torch.zeros_like(itself, dtype=q.dtype).masked_fill(itself, -torch.inf)

    def initialisers(self) -> Mapping[str, Draw]:
        return {"scale": constant(self.head_width**-0.5)}


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): every token looks at every token. (B, T, D) -> (B, T, D).

    prefix: K, the number of leading tokens that are no patches. width must be a multiple of heads.  qk_norm: queries
    and keys are normalised, each head's by itself, before they meet (ViT-22B, arXiv 2302.05442, section 2); heads share
    the d weights.  locality: each head learns its temperature, and no token looks at itself (LSA, arXiv 2112.13492,
    equations 5 and 6); there must be two tokens or more.
    """

    def __init__(
        self, width: int, heads: int, prefix: int = 0, qkv_bias: bool = True, qk_norm: bool = False,
        norm: Norm = "layer", eps: float = 1e-6, locality: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        assert width % heads == 0, "the config checks this"
        self.heads, self.prefix = heads, prefix
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.q_norm = normalise(norm, width // heads, eps) if qk_norm else nn.Identity()
        self.k_norm = normalise(norm, width // heads, eps) if qk_norm else nn.Identity()
        self.locality = Locality(heads, width // heads) if locality else None
        self.core = ScaledDotProduct()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, A, T, d)
        q, k = self.q_norm(q), self.k_norm(k)
        q, bias = (q, None) if self.locality is None else self.locality(q)
        y = self.core(q, k, v, bias)  # (B, A, T, d)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))  # (B, T, D)
        return out

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """One token a cell, prefix tokens first."""
        return AttentionLayout(grid, self.prefix, self.prefix)
