"""What a report is made from: plain values and arrays, so that a report can be written again without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vitrail.contracts import Floats
from vitrail.explain.explanation import Explanation
from vitrail.report import statistics
from vitrail.report.statistics import ClassScore, Counts, Interval, Reliability
from vitrail.settings import Config


class Picture(NamedTuple):
    """A picture on the page: a title (what the model said), a caption (which file), and the image."""

    title: str
    caption: str
    image: Image.Image

    @classmethod
    def explained(cls, explanation: Explanation) -> Picture:
        """The image beside itself under its heat map; the page has the words."""
        return cls(explanation.answer, f"{explanation.caption}. {explanation.source}", explanation.panels())


@dataclass(frozen=True)
class EvaluationView:
    """What the model did on one split.

    metrics: name -> value, fractions.  probabilities (n, Y) float32.  targets (n,) int64 class indices.  keys: the n
    samples' names, in the same order.
    """

    metrics: Mapping[str, float]
    probabilities: Floats
    targets: Counts
    keys: Sequence[str]

    @property
    def images(self) -> int:
        """n: the images that were scored."""
        return len(self.targets)

    @cached_property
    def predicted(self) -> Counts:
        """(n,) the most probable class of each image."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @cached_property
    def right(self) -> int:
        """How many images were given their own class."""
        return int((self.predicted == self.targets).sum())

    @cached_property
    def accuracy(self) -> float:
        """Share of images given their own class; 0 where there are none."""
        return self.right / self.images if self.images else 0.0

    @cached_property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the accuracy."""
        return statistics.wilson(self.right, self.images)

    @cached_property
    def majority(self) -> float:
        """Accuracy of always answering the most common class of this split."""
        return float(np.bincount(self.targets).max() / self.images) if self.images else 0.0

    @cached_property
    def confusion(self) -> Counts:
        """(Y, Y) counts: row the true class, column the predicted one."""
        return statistics.confusion(self.targets, self.predicted, self.probabilities.shape[1])

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """A score per class, in class order."""
        return statistics.per_class(self.confusion)

    @cached_property
    def reliability(self) -> Reliability:
        """Confidence against truth, in 15 bins."""
        return statistics.reliability(self.probabilities, self.targets)

    def surest_right(self, count: int) -> list[int]:
        """Rows answered rightly with the most confidence, the classes taking turns so that one cannot fill the list."""
        right = np.flatnonzero(self.predicted == self.targets)
        order = right[np.argsort(-self.probabilities[right, self.predicted[right]], kind="stable")]
        turn: dict[int, int] = {}
        rounds = []
        for row in order.tolist():
            target = int(self.targets[row])
            turn[target] = turn.get(target, 0) + 1
            rounds.append((turn[target], row))
        return [row for _, row in sorted(rounds, key=lambda pair: pair[0])][:count]

    def surest_wrong(self, count: int) -> list[int]:
        """Rows answered wrongly with the most confidence: where the model, or the label, deserves a look."""
        wrong = np.flatnonzero(self.predicted != self.targets)
        order = np.argsort(-self.probabilities[wrong, self.predicted[wrong]], kind="stable")
        return [int(row) for row in wrong[order][:count]]

    def title(self, row: int, labels: Sequence[str]) -> str:
        """What the model said of row `row`, and what is true where that differs."""
        said, truth = int(self.predicted[row]), int(self.targets[row])
        answer = f"{labels[said]} {percent(float(self.probabilities[row, said]))}"
        return answer if said == truth else f"{answer}, but it is {labels[truth]}"


@dataclass(frozen=True)
class ReportData:
    """Everything on the page, as plain values.

    config: the complete one.  labels: class names in order.  reasons: (field, value, why) of each choice.
    history: rows of results.csv, oldest first (`epoch`, `train/loss`, `val/loss`, `val/METRIC`, `lr`, ...).
    evaluations: split name -> what the model did there; "test" is the page's subject, "val" where there is no test.
    audit: the audit's summary (found, usable, bad, ...).  split: how the split was made, with counts per split.
    cost: parameters, gmacs, train_seconds, images_per_s, peak_memory_mb, ...; unknown keys are shown as they are.
    best, worst: pictures of the surest right and surest wrong answers.  overlays: explanations drawn on images.
    unexplained: why there are no explanations, where there are none.
    best_epoch: whose weights were kept.  command: as typed.  A key that is missing leaves its line out.
    """

    name: str
    config: Config
    labels: Sequence[str]
    evaluations: Mapping[str, EvaluationView]
    reasons: Sequence[tuple[str, Any, str]] = ()
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    headline: str = "accuracy"
    audit: Mapping[str, Any] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    best: Sequence[Picture] = ()
    worst: Sequence[Picture] = ()
    overlays: Sequence[Picture] = ()
    unexplained: str = ""
    cost: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str | None:
        """The split that the page's figures are from: test where there is one, else val, else None."""
        return next((split for split in ("test", "val") if split in self.evaluations), None)


def percent(fraction: float) -> str:
    """A fraction as people read it; 99.96 % is not rounded up to a certainty it has not."""
    value = 100 * fraction
    if 99.95 <= value < 100:
        return "99.9%"
    return f"{value:.0f}%" if value in (0, 100) else f"{value:.1f}%"
