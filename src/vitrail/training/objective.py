"""What the loop minimises. Distillation and pretraining are other objectives; there is one loop."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vitrail.contracts import Batch, Task


class Objective(nn.Module, ABC):
    """A per-sample loss of a model on a batch: (model, batch) -> (B,) float32; a mixed batch carries its `mixing`.

    Parameters of its own (a projection, a decoder) learn with the model and are in the checkpoints, but leave with
    training: no model folder has them. A teacher is not to be registered among its modules.
    """

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B,) float32."""

    def close(self) -> None:
        """Called once training ends, however it ends: write what is not written yet."""


class Supervised(Objective):
    """The task's own loss on the task's own targets."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.task.loss(model(batch.images), batch.targets, batch.mixing, train=True)


def has_parameters(objective: Objective) -> bool:
    """Whether something of the objective learns."""
    return any(True for _ in objective.parameters())
