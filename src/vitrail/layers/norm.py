"""Normalising tokens: LayerNorm, or its form without centring and without bias."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["layer", "rms"]
"""LayerNorm (arXiv 1607.06450), or RMSNorm (arXiv 1910.07467), which neither centres nor has a bias, as in ViT-22B."""


class RMSNorm(nn.RMSNorm):
    """PyTorch's, in the precision of its input: in mixed precision the fused kernel takes weights of no other."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, tuple(self.normalized_shape), self.weight.to(x.dtype), self.eps)


def normalise(kind: Norm, width: int, eps: float) -> nn.Module:
    """The norm of that kind over the last dimension, D or d wide."""
    return nn.LayerNorm(width, eps=eps) if kind == "layer" else RMSNorm(width, eps=eps)
