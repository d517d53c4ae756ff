"""The report on labels of which an image may have any number: each label, which go together, which are confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vitrail.contracts import Floats, Task
from vitrail.report import charts, statistics
from vitrail.report.charts import Curve, Figures
from vitrail.report.data import ReportData, percent, quoted
from vitrail.report.matrix import matrix
from vitrail.report.section import Chosen, Hero, Mark, Metric, Section, opening, ranged
from vitrail.report.statistics import Counts, Doubles, Interval
from vitrail.tasks.multilabel import MultiLabel, probabilities

if TYPE_CHECKING:
    from vitrail.evaluate.evaluator import Evaluation

TABLE_LABELS = 60
PAIRS = 10

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class LabelScore:
    """How one label fared; None where it is not defined. images: that have it.  said: that were said to have it."""

    index: int
    images: int
    said: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float
    threshold: float


@dataclass(frozen=True)
class Pair:
    """`count` images of `of` have both labels, or lack the second and were said to have it in place of the first."""

    first: int
    second: int
    count: int
    of: int


@dataclass(frozen=True)
class MultiLabelView:
    """What the model did on one split.

    probabilities (n, Y) float32.  present (n, Y) bool.  thresholds (Y,): from which on a label is said.  losses (n,).
    """

    metrics: Mapping[str, float]
    probabilities: Floats
    present: Mask
    thresholds: Doubles
    losses: Floats
    keys: Sequence[str]

    @property
    def images(self) -> int:
        """n: the images that were scored."""
        return len(self.present)

    @cached_property
    def said(self) -> Mask:
        """(n, Y) what the model says."""
        return np.asarray(self.probabilities >= self.thresholds)

    @cached_property
    def seen(self) -> Counts:
        """Labels that some image of the split has: those that mAP is the mean over."""
        return np.flatnonzero(self.present.any(axis=0))

    @cached_property
    def areas(self) -> Doubles:
        """(Y,) the average precision of each label, NaN where no image has it."""
        columns = zip(self.probabilities.T, self.present.T, strict=True)
        return np.array([float(statistics.average_precision(p, t)[0]) for p, t in columns])

    @cached_property
    def map(self) -> float:
        """Mean average precision over the labels that occur."""
        return float(self.areas[self.seen].mean()) if len(self.seen) else 0.0

    @cached_property
    def interval(self) -> Interval | None:
        """Of mAP, by the bootstrap over images; labels that a draw happens to lack are left out of its mean."""
        if self.images < 2 or not len(self.seen):
            return None
        values = []
        for drawn in statistics.draws(self.images):
            areas = np.stack(
                [statistics.average_precision(self.probabilities[:, i], self.present[:, i], drawn) for i in self.seen]
            )
            there = np.isfinite(areas)
            values.append(np.where(there, areas, 0).sum(axis=0) / np.maximum(1, there.sum(axis=0)))
        return statistics.between(np.concatenate(values))

    @cached_property
    def floor(self) -> float:
        """mAP of scores that say nothing: the mean share of images that have a label."""
        return float(self.present[:, self.seen].mean()) if len(self.seen) else 0.0

    @cached_property
    def exact(self) -> float:
        """Share of images that were given their very labels, no more and no fewer."""
        return float((self.said == self.present).all(axis=1).mean()) if self.images else 0.0

    @cached_property
    def scores(self) -> list[LabelScore]:
        """A score per label, in their order."""
        right = (self.said & self.present).sum(axis=0)
        made = []
        for i, (hits, said, there) in enumerate(
            zip(right.tolist(), self.said.sum(axis=0).tolist(), self.present.sum(axis=0).tolist(), strict=True)
        ):
            made.append(
                LabelScore(
                    index=i,
                    images=there,
                    said=said,
                    average_precision=float(self.areas[i]) if there else None,
                    precision=hits / said if said else None,
                    recall=hits / there if there else None,
                    f1=2 * hits / (said + there) if said + there else 0.0,
                    threshold=float(self.thresholds[i]),
                )
            )
        return made

    @cached_property
    def together(self) -> Counts:
        """(Y, Y) images that have both labels; the diagonal has those of each."""
        there = self.present.astype(np.int64)
        return there.T @ there

    @cached_property
    def mistaken(self) -> Counts:
        """(Y, Y) images of which the first label was missed and the second wrongly said."""
        missed, invented = (self.present & ~self.said), (self.said & ~self.present)
        return missed.astype(np.int64).T @ invented.astype(np.int64)


class MultiLabelSection(Section[MultiLabelView]):
    """The section of the task `multilabel`."""

    metrics: Mapping[str, Metric] = {
        "map": Metric("mAP"),
        "f1_micro": Metric("Micro F1"),
        "f1_macro": Metric("Macro F1"),
    }
    curves = (
        Curve(
            "metrics",
            "Metrics on val after each epoch",
            {"map": "mAP", "f1_micro": "micro F1", "f1_macro": "macro F1"},
        ),
    )
    anchors = (("classes", "Labels"), ("together", "Together"))
    columns = ("label", "images", "average_precision", "precision", "recall", "f1", "threshold")
    alternatives: Mapping[str, str] = {}

    def view(self, task: Task, result: Evaluation) -> MultiLabelView:
        """Logits as probabilities."""
        thresholds = np.asarray(cast(MultiLabel, task).thresholds, np.float64)
        present = result.targets > 0.5 if len(result.keys) else np.zeros((0, task.outputs), np.bool_)
        shares = probabilities(result.outputs)
        return MultiLabelView(result.metrics, shares, present, thresholds, result.losses, result.keys)

    def about(self, data: ReportData) -> str:
        """How many labels."""
        return f"any of {len(data.labels):,} labels"

    def hero(self, data: ReportData, view: MultiLabelView, split: str) -> Hero:
        """mAP beside scores that say nothing."""
        lines = [f"mean average precision on {view.images:,} {split} images"]
        if view.interval:
            lines.append(f"95% interval {percent(view.interval.low)} to {percent(view.interval.high)}")
        return Hero(
            percent(view.map),
            lines,
            "Mean average precision beside guessing, from 0 to 100 %",
            (view.interval.low, view.interval.high) if view.interval else None,
            (
                Mark("point", view.map, f"model {percent(view.map)}"),
                Mark("chance", view.floor, f"guessing {percent(view.floor)}"),
            ),
        )

    def verdict(self, data: ReportData, view: MultiLabelView, split: str) -> list[str]:
        """How well labels are ranked, how often all are right, what it is worth beside guessing, the hardest label."""
        spread = ranged(view.interval, percent)
        draw = f" Another draw of as many images would most likely give {spread} (95% interval)." if spread else ""
        said = [
            f"On the {opening(view, split)}, the mean average precision over {len(view.seen):,} labels is "
            f"{percent(view.map)}: 100% would rank every image that has a label above every one that has not.{draw}",
            f"{percent(view.exact)} of the {split} images were given their very labels, no more and no fewer.",
        ]
        if view.interval and view.interval.low <= view.floor:
            said.append(
                f"Guessing would give {percent(view.floor)}: this result cannot be told from that, so the model has "
                "learned nothing to rely on yet."
            )
        else:
            said.append(f"Guessing at random would give a mean average precision of {percent(view.floor)}.")
        scored = [score for score in view.scores if score.images >= 5]
        if len(scored) >= 3:
            worst = min(scored, key=lambda score: (score.average_precision or 0.0, score.index))
            if (worst.average_precision or 0.0) < view.map - 0.05:
                said.append(
                    f"The hardest label is “{data.labels[worst.index]}”, with an average precision of "
                    f"{percent(worst.average_precision or 0.0)} over the {worst.images} {split} images that have it."
                )
        return said

    def cautions(self, data: ReportData, view: MultiLabelView, split: str) -> list[str]:
        """Labels that were never tested."""
        absent = [data.labels[score.index] for score in view.scores if not score.images]
        if not absent:
            return []
        return [f"No {split} image has {len(absent):,} of the {len(data.labels):,} labels: {quoted(absent)}."]

    def figures(self, data: ReportData, view: MultiLabelView, split: str) -> Figures:
        """Which labels go together, of not too many."""
        if len(data.labels) > charts.MOST_CLASSES:
            return {}
        return {"together": charts.together(view.together, data.labels, split)}

    def context(self, data: ReportData, view: MultiLabelView, split: str, figures: Figures) -> dict[str, Any]:
        """Tables and the matrix of labels that go together."""
        few = len(data.labels) <= charts.MOST_CLASSES
        rows = sorted(view.scores, key=lambda score: (not score.images, score.average_precision or 0.0, score.index))
        each = np.diag(view.together).tolist()
        return {
            "rows": rows[:TABLE_LABELS],
            "hidden": len(rows) > TABLE_LABELS,
            "matrix": matrix(view.together, data.labels, "also have", of=each, right=True) if few else None,
            "pairs": _largest(np.triu(view.together, 1), each),
            "mistaken": _largest(view.mistaken, (view.present & ~view.said).sum(axis=0).tolist()),
        }

    def rows(self, data: ReportData, view: MultiLabelView) -> list[list[Any]]:
        """A row per label."""
        return [
            [label, s.images, s.average_precision, s.precision, s.recall, s.f1, s.threshold]
            for label, s in zip(data.labels, view.scores, strict=True)
        ]

    def chosen(self, view: MultiLabelView, count: int) -> list[Chosen]:
        """By the loss per image, over all labels."""
        order = np.argsort(view.losses, kind="stable")
        wrong = [int(i) for i in order[::-1] if (view.said[i] != view.present[i]).any()]
        right = [int(i) for i in order if (view.said[i] == view.present[i]).all()]
        note = "The largest loss over all labels. Worth a look: is it the model or the labels that err?"
        return [Chosen("Farthest off", note, wrong[:count]), Chosen("All right and sure", "", right[:count])]

    def title(self, labels: Sequence[str], view: MultiLabelView, row: int) -> str:
        """The labels said, and those missed or invented."""
        said, true = view.said[row], view.present[row]
        words = _names(labels, said) or "no label"
        missed, invented = _names(labels, true & ~said), _names(labels, said & ~true)
        wrong = [f"misses {missed}"] if missed else []
        wrong += [f"wrongly {invented}"] if invented else []
        return f"{words} ({', '.join(wrong)})" if wrong else words


SECTION = MultiLabelSection()


def _names(labels: Sequence[str], chosen: Mask) -> str:
    return "; ".join(labels[int(i)] for i in np.flatnonzero(chosen))


def _largest(counts: Counts, of: Sequence[int]) -> list[Pair]:
    order = np.argsort(-counts, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(flat), len(counts)) for flat in order]
    return [Pair(i, j, int(counts[i, j]), of[i]) for i, j in places if counts[i, j]]
