"""Pooling, then one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.contracts import Backbone, Features
from vitrail.heads.pooling import pooling


class LinearHead(nn.Module):
    """Features -> (B, Y). The layer's weights begin as truncated normal 0.02, its bias as zero (timm, DeiT)."""

    def __init__(self, backbone: Backbone, outputs: int, kind: str) -> None:
        super().__init__()
        self.pool = pooling(kind, backbone)
        self.fc = nn.Linear(backbone.width, outputs)

    def forward(self, features: Features) -> Tensor:
        out: Tensor = self.fc(self.pool(features))  # (B, D) -> (B, Y)
        return out

    def last(self) -> Sequence[nn.Module]:
        """The layers with a row per output."""
        return (self.fc,)
