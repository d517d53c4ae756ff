"""What the loop minimises. Distillation and pretraining are other objectives; there is one loop."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from vitrail.contracts import Batch, Task


class Objective(Protocol):
    """A per-sample loss of a model on a batch."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B,) float32; a mixed batch carries its `mixing`."""


class Supervised:
    """The task's own loss on the task's own targets."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.task.loss(model(batch.images), batch.targets, batch.mixing, train=True)
