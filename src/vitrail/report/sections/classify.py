"""The report on classes: what is taken for what, each class, and whether the confidence can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Floats, Task
from vitrail.report import charts, statistics
from vitrail.report.charts import Curve, Figures
from vitrail.report.data import ReportData, percent, quoted
from vitrail.report.matrix import matrix
from vitrail.report.section import Chosen, Hero, Mark, Metric, Section, opening
from vitrail.report.statistics import ClassScore, Counts, Interval, Reliability

if TYPE_CHECKING:
    from vitrail.evaluate.evaluator import Evaluation

TABLE_CLASSES = 60
"""Rows of the per-class table; the hardest are shown, all stand in per_class.csv."""

CONFUSED = 10


@dataclass(frozen=True)
class ClassifyView:
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


class ClassifySection(Section[ClassifyView]):
    """The section of the task `classify`."""

    metrics: Mapping[str, Metric] = {
        "accuracy": Metric("Accuracy"),
        "accuracy_top5": Metric("Top-5 accuracy"),
        "f1_macro": Metric("Macro F1"),
        "auroc": Metric("AUROC"),
        "ece": Metric("Calibration error"),
    }
    curves = (
        Curve(
            "metrics",
            "Metrics on val after each epoch",
            {"accuracy": "accuracy", "accuracy_top5": "top-5", "f1_macro": "macro F1", "auroc": "AUROC", "ece": "ECE"},
        ),
    )
    anchors = (("confusion", "Confusion"), ("classes", "Classes"), ("calibration", "Calibration"))
    columns = ("class", "images", "precision", "recall", "f1")
    alternatives: Mapping[str, str] = {"reliability": "Confidence against how often it is right"}

    def view(self, task: Task, result: Evaluation) -> ClassifyView:
        """Logits as probabilities."""
        decoded = task.decode(result.outputs, result.keys)
        shares = np.stack([p.arrays["probabilities"] for p in decoded]) if decoded else result.outputs
        return ClassifyView(result.metrics, shares, result.targets, result.keys)

    def about(self, data: ReportData) -> str:
        """How many classes."""
        return f"{len(data.labels):,} classes"

    def hero(self, data: ReportData, view: ClassifyView, split: str) -> Hero:
        """The accuracy beside guessing."""
        chance, low, high = 1 / max(1, len(data.labels)), view.interval.low, view.interval.high
        return Hero(
            percent(view.accuracy),
            (f"accuracy on {view.images:,} {split} images", f"95% interval {percent(low)} to {percent(high)}"),
            "Accuracy beside guessing, from 0 to 100 %",
            (low, high),
            (
                Mark("point", view.accuracy, f"model {percent(view.accuracy)}"),
                Mark("floor", view.majority, f"always the most common class {percent(view.majority)}"),
                Mark("chance", chance, f"guessing {percent(chance)}"),
            ),
        )

    def verdict(self, data: ReportData, view: ClassifyView, split: str) -> list[str]:
        """How often right, how sure that is, what it is worth beside guessing, and the hardest class."""
        low, high = percent(view.interval.low), percent(view.interval.high)
        return [
            f"Of the {opening(view, split)}, the model puts {percent(view.accuracy)} in the right class. "
            f"Another draw of as many images would most likely give between {low} and {high} (95% interval).",
            _beside_guessing(view, split, data.labels),
            *_weakest(view, data.labels, split),
        ]

    def cautions(self, data: ReportData, view: ClassifyView, split: str) -> list[str]:
        """Classes that were never tested."""
        absent = [data.labels[score.index] for score in view.per_class if score.images == 0]
        if not absent or not view.images:
            return []
        return [f"No {split} image of {len(absent):,} of the {len(data.labels):,} classes: {quoted(absent)}."]

    def figures(self, data: ReportData, view: ClassifyView, split: str) -> Figures:
        """Reliability, and the confusion of not too many classes."""
        figures = {"reliability": charts.reliability(view.reliability)}
        if len(data.labels) <= charts.MOST_CLASSES:
            figures["confusion"] = charts.confusion(view.confusion, data.labels, split)
        return figures

    def context(self, data: ReportData, view: ClassifyView, split: str, figures: Figures) -> dict[str, Any]:
        """Tables, matrix and words."""
        few = len(data.labels) <= charts.MOST_CLASSES
        classes = sorted(view.per_class, key=_hardest_first)
        return {
            "matrix": matrix(view.confusion, data.labels, "said") if few else None,
            "pairs": statistics.confused_pairs(view.confusion, CONFUSED if few else 3 * CONFUSED),
            "rows": classes[:TABLE_CLASSES],
            "hidden": len(classes) > TABLE_CLASSES,
            "calibration": calibration(view, split),
        }

    def rows(self, data: ReportData, view: ClassifyView) -> list[list[Any]]:
        """A row per class."""
        scores = zip(data.labels, view.per_class, strict=True)
        return [[label, score.images, score.precision, score.recall, score.f1] for label, score in scores]

    def chosen(self, view: ClassifyView, count: int) -> list[Chosen]:
        """The surest answers."""
        note = "Worth a look: is it the model or the label that errs?"
        return [
            Chosen("Surest and wrong", note, view.surest_wrong(count)),
            Chosen("Surest and right", "", view.surest_right(count)),
        ]

    def title(self, labels: Sequence[str], view: ClassifyView, row: int) -> str:
        """The class said and its probability, and the true one where that differs."""
        said, truth = int(view.predicted[row]), int(view.targets[row])
        answer = f"{labels[said]} {percent(float(view.probabilities[row, said]))}"
        return answer if said == truth else f"{answer}, but it is {labels[truth]}"


SECTION = ClassifySection()


def _beside_guessing(view: ClassifyView, split: str, labels: Sequence[str]) -> str:
    chance = 1 / len(labels)
    if view.majority > 1.05 * chance:
        other = f"Always answering the most common class would be right for {percent(view.majority)} of the {split} "
        other += f"images, guessing at random for {percent(chance)}"
    else:
        other = f"Guessing at random would be right for {percent(chance)} of the {split} images"
    floor = max(view.majority, chance)
    if view.interval.high < floor:
        return f"{other}. This model does worse than the better of these."
    if view.interval.low <= floor:
        return f"{other}: this result cannot be told from that, so the model has learned nothing to rely on yet."
    if view.accuracy >= 2 * floor:
        times = view.accuracy / floor
        return f"{other}: the model is right {times:.{0 if times >= 20 else 1}f} times as often."
    return f"{other}: the model is better than that, beyond what chance in drawing the images explains."


def _weakest(view: ClassifyView, labels: Sequence[str], split: str) -> list[str]:
    scored = [score for score in view.per_class if score.images >= 5 and score.recall is not None]
    if len(scored) < 3:
        return []
    worst = min(scored, key=lambda score: (score.recall or 0.0, score.index))
    if worst.recall is None or worst.recall > view.accuracy - 0.05:
        return []
    said = f", most often taken for “{labels[worst.mistaken]}”" if worst.mistaken is not None else ""
    found = f"{round(worst.recall * worst.images)} of {worst.images}"
    return [f"The hardest class is “{labels[worst.index]}”: {found} {split} images found{said}."]


def calibration(view: ClassifyView, split: str) -> str:
    """Whether the model's confidence can be taken at its word."""
    sure = float(view.probabilities.max(axis=1).mean()) if view.images else 0.0
    gap = sure - view.accuracy
    means = f"On the {split} images it claims {percent(sure)} on average and is right in {percent(view.accuracy)}"
    if abs(gap) < 0.02 and view.reliability.ece < 0.05:
        return f"{means}: its confidence can be taken at its word (calibration error {percent(view.reliability.ece)})."
    if abs(gap) < 0.02:
        verdict = "right on the whole, but not at every level"
    else:
        verdict = "it is too sure of itself" if gap > 0 else "it is more often right than it claims"
    return f"{means}: {verdict} (expected calibration error {percent(view.reliability.ece)})."


def _hardest_first(score: ClassScore) -> tuple[bool, float, int]:
    return score.images == 0, score.f1, score.index
