"""Normalising tokens: LayerNorm, or its form without centring and without bias."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["layer", "rms"]
"""LayerNorm (arXiv 1607.06450), or RMSNorm (arXiv 1910.07467), which neither centres nor has a bias, as in ViT-22B."""


def normalise(kind: Norm, width: int, eps: float) -> nn.Module:
    """The norm of that kind over the last dimension, D or d wide."""
    return nn.LayerNorm(width, eps=eps) if kind == "layer" else nn.RMSNorm(width, eps=eps)
