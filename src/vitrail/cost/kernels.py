"""What a GPU's kernels keep, said to a tracer that has none: for planning on a machine without the device.

Nothing is computed here; the shapes, dtypes and lifetimes are those of PyTorch's fused attention on CUDA
(FlashAttention-2, arXiv 2307.08691, and for a bias the memory-efficient kernel), and of its autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Count = Callable[[int], None]
"""Told FLOPs."""

IN_FLOAT32 = (F.layer_norm, F.group_norm)
"""CUDA's autocast computes these in float32, the CPU's leaves them as they come."""


def attention_flops(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Of both products of attention: queries (B, A, T_q, d), keys (B, A, T_k, d), values (B, A, T_k, d)."""
    return 2 * q.numel() * k.shape[-2] + 2 * q.shape[:-1].numel() * v.shape[-2] * v.shape[-1]


def fused_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, count: Count) -> Tensor:
    """The shape of softmax(QK^T / sqrt(d) + bias) V, with what a fused kernel keeps for its backward pass."""
    if torch.is_autocast_enabled("cpu"):
        low = torch.get_autocast_dtype("cpu")
        q, k, v = q.to(low), k.to(low), v.to(low)
        bias = None if bias is None else bias.to(low)
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _Fused.apply(q, k, v, bias, count)
    return out


class _Fused(torch.autograd.Function):
    """Keeps queries, keys, values, the output and a float32 per query; the matrix is formed in neither pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, count: Count) -> Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        normaliser = q.new_empty(q.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(q, k, v, bias, out, normaliser)
        ctx.count = count
        count(attention_flops(q, k, v))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, _, normaliser = ctx.saved_tensors
        ctx.count(2 * attention_flops(q, k, v))  # both kernels multiply once more, to have the matrix again
        held = (torch.empty_like(normaliser), q.new_empty(q.shape, dtype=torch.float32))  # row sums, queries' gradient
        gradients = (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v))
        bias_gradient = None
        if bias is not None and bias.requires_grad:  # as large as the matrix, then summed to the bias's own shape
            bias_gradient = q.new_empty(*q.shape[:-1], k.shape[-2]).sum_to_size(bias.shape)
        del held
        return *gradients, bias_gradient, None


class CudaAutocast(TorchFunctionMode):
    """Autocast of a CPU made to keep what CUDA's keeps."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))
