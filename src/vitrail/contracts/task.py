"""One kind of target: its head, its loss, its metrics, and how a prediction is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vitrail.contracts.backbone import Backbone
from vitrail.contracts.batch import Mixing, Targets
from vitrail.contracts.prediction import Prediction, Spread

if TYPE_CHECKING:
    from torch import Tensor, nn


class Meter(Protocol):
    """Accumulates a metric set over batches."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add raw model outputs (B, ...) and their targets, failed samples already left out."""

    def compute(self) -> dict[str, float]:
        """Metric name -> value (fractions, not percent; names of DESIGN: accuracy, accuracy_top5, f1_macro, ...)."""


@dataclass(frozen=True)
class Rows:
    """How a head's last layer becomes that of another: output i is scale[i] * theirs[places[i]] + shift[i]."""

    places: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def unchanged(self) -> bool:
        """Whether the answers stay what they are, whatever becomes of their order."""
        return set(self.scale) <= {1.0} and set(self.shift) <= {0.0}


class Task(Targets, Protocol):
    """One kind of target: its head, loss, metrics, and how a prediction is read. One file in `tasks/` is one task."""

    name: str
    headline: str
    """The metric that chooses the best epoch."""
    maximise: bool
    outputs: int
    """Y: the width of the model's output."""
    columns: tuple[str, ...]
    """The task's columns in predictions.csv, after path, status, reason."""
    truths: tuple[str, ...]
    """The columns of what is true, where it is known: they stand before `columns`, or after them for classes."""
    mixes: bool
    """Whether mixed images (mixup, CutMix) have a loss."""
    pooling: str | None
    """The pooling that suits the task better than the model's own, or None."""
    softens: bool
    """Whether a teacher's answer has a softened form, as probabilities have; a number has none."""

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """A fresh head: Features -> outputs (B, Y)."""

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """Per-sample loss (B,), float32. Smoothing and class weights apply only with `train`."""

    def meter(self) -> Meter:
        """A fresh, empty meter."""

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Raw outputs (B, Y) of any engine, (B, Y, H, W) of dense tasks, -> one Prediction each. NumPy only.

        spread: how each image's map goes back to the image's own size; without it maps stay in the model's pixels.
        """

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """What turns a teacher's raw outputs into this task's: classes by name, numbers in this standardisation.

        Raises UsageError where the teacher does not answer all that is asked here.
        """

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """Per-sample loss (B,) of outputs against a teacher's aligned ones: its decisions (hard), or softened."""

    def inherited(self, source: Task) -> Rows | str:
        """The rows of a head for the same kind of task that answer here, by name; or why they do not, in a clause."""

    def truth(self, target: Any) -> dict[str, Any]:
        """A source's target as values for the columns `truths`."""

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """The task with what is chosen on validation outputs (thresholds); itself where nothing is."""

    def state(self) -> dict[str, Any]:
        """What labels.json holds; `tasks.restore(state)` gives an equal task back."""
