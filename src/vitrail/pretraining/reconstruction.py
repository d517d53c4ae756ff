"""Filling in what is hidden: what every way of it has in common, and what the training loop is told of it.

The part that fills in belongs to the model that is trained, beside the backbone, and not to the objective: the moving
average must hold both, or averaged tokens would be judged by a decoder of other days. No model folder has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Batch, Meter, Mixing, Task
from vitrail.training.objective import Objective


class Reconstructor(nn.Module, ABC):
    """A backbone and what fills in hidden pixels from its tokens.

    Images with their mask behind them, (B, C + 1, H, W), -> the loss of each, (B, 1) float32.
    """

    guessing: str
    """What `guess` does, in words."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = cast(nn.Module, backbone)

    def forward(self, images: Tensor) -> Tensor:
        pixels, hidden = images[:, :-1], images[:, -1:]
        loss = self.loss(self.predict(pixels, hidden), pixels, hidden)
        return loss[:, None]  # (B, 1)

    @abstractmethod
    def predict(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """Pixels (B, C, H, W), of which those where hidden (B, 1, H, W) is 1 are not looked at -> a prediction."""

    @abstractmethod
    def loss(self, prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        """(B,) float32: how far the prediction is off where pixels were hidden."""

    @abstractmethod
    def guess(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """A prediction that has learned nothing. What a model must do better than."""

    @abstractmethod
    def painted(self, prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        """(B, C, H, W): the image with the prediction where it was hidden."""


class Guessing(nn.Module):
    """The loss of `Reconstructor.guess` in the place of what was learned."""

    def __init__(self, model: Reconstructor) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        pixels, hidden = images[:, :-1], images[:, -1:]
        return self.model.loss(self.model.guess(pixels, hidden), pixels, hidden)[:, None]


class FillIn(Objective):
    """The loss that the model itself returns."""

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        out: Tensor = model(batch.images)[:, 0]
        return out


class _Nothing:
    """Of images alone only the loss is measured."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Nothing is kept."""

    def compute(self) -> dict[str, float]:
        """No metric beside the loss."""
        return {}


class NoTargets:
    """What loaders, the training loop and the evaluation loop read of a task, where there is none.

    Targets are not looked at; outputs are the model's losses, and the lowest is the best.
    """

    name = headline = "loss"
    maximise = dense = mixes = False
    outputs = 1

    def encode(self, target: Any) -> None:
        """Nothing, whatever the target."""

    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """(B, 0)."""
        return torch.zeros(len(encoded), 0)

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """The outputs themselves, (B,)."""
        return outputs[:, 0]

    def meter(self) -> Meter:
        """One that measures nothing beside the loss."""
        return _Nothing()

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> NoTargets:
        """Itself."""
        return self

    def state(self) -> dict[str, Any]:
        """Empty, in labels.json too."""
        return {}


def no_targets() -> Task:
    """`NoTargets` for the loops: what it lacks of a task (a head, answers) they do not read."""
    return cast(Task, NoTargets())
