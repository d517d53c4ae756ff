"""A task's own loss and a teacher's part beside it (DeiT, arXiv 2012.12877)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from vitrail.assemble import VisionModel
from vitrail.contracts import Batch, Task
from vitrail.distill.lesson import Lesson
from vitrail.heads.distilled import DistilledHead
from vitrail.settings import DistillConfig
from vitrail.training.objective import Objective


class Distilled(Objective):
    """(1 - weight) * the task's loss on its targets + weight * imitation of the teacher, per sample.

    Where the model has a distillation token, the layer on [CLS] learns from the targets and the layer on the token from
    the teacher (section 4 of the paper); else one output learns from both. The targets of a mixed image are both its
    classes, by their shares; the teacher has seen the same mixed image, and what it says is one answer.

    align: from the teacher's outputs to the task's (`Task.align`).
    """

    def __init__(
        self, task: Task, lesson: Lesson, align: Callable[[Tensor], Tensor], config: DistillConfig
    ) -> None:  # fmt: skip
        super().__init__()
        self.task, self.lesson, self.align, self.config = task, lesson, align, config

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        for_targets, for_teacher = _both(cast(VisionModel, model), batch.images)
        taught = self.align(self.lesson(batch))
        own = self.task.loss(for_targets, batch.targets, batch.mixing, train=True)
        learned = self.task.imitation(for_teacher, taught, self.config.kind == "hard", self.config.temperature)
        return (1 - self.config.weight) * own + self.config.weight * learned

    def close(self) -> None:
        """Write what the teacher said."""
        self.lesson.close()


def _both(model: VisionModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs that learn from the targets, and those that learn from the teacher."""
    if isinstance(model.head, DistilledHead):
        return model.head.both(model.features(images))
    outputs = model(images)
    return outputs, outputs
