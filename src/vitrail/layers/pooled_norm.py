"""A LayerNorm that published models apply after pooling, for models that return tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PooledLayerNorm(nn.LayerNorm):
    """`normalise_pooled` with weights of its own: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        return normalise_pooled(tokens, self)


def normalise_pooled(tokens: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Tokens (B, N, D) -> (B, N, D), each normalised with the mean and variance of the mean token, by norm's weights.

    A LayerNorm is affine once its statistics are known, so the mean of what comes out is the LayerNorm of the mean of
    what goes in: mean pooling then gives the numbers of a model that pools first, and any other head still gets tokens.
    """
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))  # as LayerNorm itself does under autocast
    variance, mean = torch.var_mean(wide.mean(dim=1, keepdim=True), dim=-1, correction=0, keepdim=True)
    out = (wide - mean) * torch.rsqrt(variance + norm.eps)  # (B, N, D)
    if norm.elementwise_affine:
        out = out * norm.weight + (0 if norm.bias is None else norm.bias)
    return out.to(tokens.dtype)
