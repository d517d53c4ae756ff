"""Learning a teacher's feature map: no class need be in common, and a CNN's map tells where things are.

After the locality guidance of tiny transformers (Li et al. 2022, arXiv 2207.10026), which took CIFAR-100 at 224 px from
65.1 to 78.2 % with DeiT-Ti (reference table 2.2): theirs guides several layers, this one the last.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone, Batch, Task
from vitrail.distill.lesson import Lesson
from vitrail.distill.teacher import Teacher
from vitrail.layers.initialise import initialise
from vitrail.settings import DistillConfig
from vitrail.training.objective import Objective

WEIGHT = round(2.5 / (1 + 2.5), 3)
"""Share of the loss by default: theirs is 2.5 times the loss on the targets."""


class FeatureDistilled(Objective):
    """(1 - weight) * the task's loss + weight * the distance of the tokens to the teacher's map, per sample.

    A linear layer, which learns with the student and leaves with training, takes each final token to the width of the
    teacher's map; vectors of both are normalised to length 1, and what is minimised is the mean of their squared
    distances over the student's grid, between 0 and 4.

    student: the backbone that learns.  channels: of the teacher's map.  seed: of the layer's first values.
    """

    def __init__(
        self, task: Task, lesson: Lesson, student: Backbone, channels: int, config: DistillConfig, seed: int
    ) -> None:  # fmt: skip
        super().__init__()
        self.task, self.lesson, self.config = task, lesson, config
        self.projection = nn.Linear(student.width, channels)
        initialise(self.projection, seed, prefix="objective.projection.")

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        student = cast(VisionModel, model)
        features = student.features(batch.images, pyramid=self.task.dense)
        outputs = student.answer(features, batch.images.shape[2:])
        own = self.task.loss(outputs, batch.targets, batch.mixing, train=True)
        taught = F.normalize(self.lesson(batch).flatten(2), dim=1)  # (B, C, N)
        seen = F.normalize(self.projection(features.tokens).float(), dim=2)  # (B, N, C)
        apart = (seen - taught.transpose(1, 2)).square().sum(dim=2).mean(dim=1)  # (B,)
        return (1 - self.config.weight) * own + self.config.weight * apart

    def close(self) -> None:
        """Write what the teacher said."""
        self.lesson.close()


def final_grid(student: Backbone) -> tuple[int, int]:
    """(h, w) of a backbone's final tokens at the image size that is set."""
    return student.stages()[-1].grid


def nearest_level(teacher: Teacher, student: Backbone) -> int:
    """The level of the teacher's pyramid that is nearest in stride to the student's final tokens."""
    return teacher.level_at(student.image_size[0] / final_grid(student)[0])
