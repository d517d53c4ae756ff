"""What of a model's answer is explained when nobody says, and how much of it is left as an image is hidden.

Tasks with probabilities: the probability, in [0, 1], of the class or label that the whole image is given; of a class
per pixel, its mean over the pixels that it is given to. Tasks with numbers: minus the distance, in standard deviations
of the training targets, between the number now and that of the whole image, (-inf, 0]; of a map its mean over pixels.
Either way the more is left the higher, so that deletion should be low and insertion high.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.contracts import Task
from vitrail.explain.question import output_names
from vitrail.explain.target import Target

WORDS = {
    "classify": "the probability of the class that is said",
    "multilabel": "the probability of the label that is said most surely",
    "segment": "the mean probability of the class said most, where it is said",
}
NUMBER = "minus the distance from the answer to the whole image, in standard deviations of the training targets"


@dataclass(frozen=True)
class Asked:
    """What of the answers to B images is explained. target: for the methods.  whole: the outputs, (B, Y, ...)."""

    task: str
    target: Target
    whole: Tensor

    def left(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Outputs (n, Y, ...) of images made of the images `rows` (n,) -> how much of each answer is left, (n,)."""
        wanted = self.target.output[rows]
        outputs = outputs.float()
        if self.task == "classify":
            return outputs.softmax(dim=1).gather(1, wanted[:, None])[:, 0]
        if self.task == "multilabel":
            return outputs.sigmoid().gather(1, wanted[:, None])[:, 0]
        region = None if self.target.region is None else self.target.region[rows]
        if self.task == "segment":
            return Target(wanted, region=region).score(outputs.softmax(dim=1))
        distance = (outputs - self.whole[rows]).abs()
        return -Target(wanted, region=region).score(distance)


def words(task: str) -> str:
    """What is left of an answer, in words."""
    return WORDS.get(task, NUMBER)


def ask(task: Task, outputs: Tensor) -> Asked:
    """What is explained of outputs (B, Y) or (B, Y, H, W).

    The class or label that is said most surely; of a class per pixel, the one said of most pixels, not the ground (the
    value 0 in masks) where anything else is said, and the pixels it is said of; of several numbers the one that is
    farthest from the training targets' mean.
    """
    outputs = outputs.detach().float()
    if task.name in ("classify", "multilabel"):
        return Asked(task.name, Target(outputs.argmax(dim=1)), outputs)
    if task.name == "segment":
        said = outputs.argmax(dim=1)  # (B, H, W)
        counts = torch.stack([(said == place).sum(dim=(1, 2)) for place in range(outputs.shape[1])], dim=1)  # (B, Y)
        values = list(task.state().get("values", ()))
        if 0 in values:
            counts = counts.double()
            counts[:, values.index(0)] /= 1 + counts.sum(dim=1)  # less than one pixel: only where there is no other
        chosen = counts.argmax(dim=1)
        return Asked(task.name, Target(chosen, region=said == chosen[:, None, None]), outputs)
    own = outputs[:, : len(output_names(task)) or outputs.shape[1]]  # without the variances of loss=nll
    far = own.abs() if own.ndim == 2 else own.abs().mean(dim=(2, 3))
    return Asked(task.name, Target(far.argmax(dim=1)), outputs)
