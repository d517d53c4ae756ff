"""The moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """Keeps `average = decay * average + (1 - decay) * weights` of every parameter; buffers are copied.

    The decay warms up as (1 + t) / (10 + t), so that the first weights do not linger (TensorFlow's
    ExponentialMovingAverage). `decay` 0 keeps no copy: `model` is then the trained model itself.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.source = model
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False) if decay else model

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Fold in the weights after update number `step` (from 0)."""
        if not self.decay:
            return
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), [p.detach() for p in self.source.parameters()], weight)
        for kept, current in zip(self.model.buffers(), self.source.buffers(), strict=True):
            kept.copy_(current)
