"""A LayerNorm that published models apply after pooling, for models that return tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PooledLayerNorm(nn.LayerNorm):
    """Tokens (B, N, D) -> (B, N, D), each normalised with the mean and variance of the mean token.

    A LayerNorm is affine once its statistics are known, so the mean of what comes out is the LayerNorm of the mean of
    what goes in: mean pooling then gives the numbers of a model that pools first, and any other head still gets tokens.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))  # as LayerNorm itself does under autocast
        variance, mean = torch.var_mean(wide.mean(dim=1, keepdim=True), dim=-1, correction=0, keepdim=True)
        out = (wide - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias  # (B, N, D)
        return out.to(tokens.dtype)
