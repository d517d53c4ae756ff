"""The report on a class per pixel: how well regions and outlines are met, class by class, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vitrail.contracts import Floats, Pixels, Prediction, Task
from vitrail.data.masks import UNTOLD
from vitrail.report import charts, colours, statistics
from vitrail.report.charts import Curve, Figures
from vitrail.report.data import Key, Panel, ReportData, percent, quoted
from vitrail.report.matrix import matrix
from vitrail.report.section import Chosen, DenseSection, Hero, Mark, Metric, opening, ranged
from vitrail.report.statistics import Confused, Counts, Doubles, Interval
from vitrail.tasks.meters.masks import SegmentMeter
from vitrail.tasks.segment import Segment

if TYPE_CHECKING:
    from vitrail.evaluate.evaluator import Evaluation

TABLE_CLASSES = 60
PAIRS = 10


@dataclass(frozen=True)
class RegionScore:
    """How one class fared; None where it is not defined. pixels: that are truly of it.  iou_interval: over images."""

    index: int
    pixels: int
    iou: float | None
    iou_interval: Interval | None
    dice: float | None
    precision: float | None
    recall: float | None
    boundary_f1: float | None


@dataclass(frozen=True)
class SegmentView:
    """What the model did on one split, in the pixels that it sees.

    ground: the class that is no object, the value 0 in masks, or None.  confusion (Y, Y): pixels, row the true class.
    regions (n, 3, Y): of each image, pixels rightly said, true and said to be of each class.  outlines (2, Y): sum of
    boundary scores and number of images.  losses (n,).
    """

    metrics: Mapping[str, float]
    ground: int | None
    confusion: Counts
    regions: Counts
    outlines: Doubles
    losses: Floats
    keys: Sequence[str]

    @property
    def images(self) -> int:
        """n: the images that were scored."""
        return len(self.keys)

    @cached_property
    def ious(self) -> Doubles:
        """(Y,) intersection over union, NaN where a class neither is nor is said."""
        each: Doubles = _ious(self.regions.sum(axis=0)[None])[0]
        return each

    @cached_property
    def miou(self) -> float:
        """Their mean over the classes that occur; 0 where nothing is known."""
        return float(np.nanmean(self.ious)) if np.isfinite(self.ious).any() else 0.0

    @cached_property
    def intervals(self) -> list[Interval | None]:
        """Of mIoU, then of each class's IoU, by the bootstrap over images."""
        outputs = self.confusion.shape[0]
        if self.images < 2 or not self.confusion.any():
            return [None] * (outputs + 1)
        sums = self.regions.reshape(self.images, -1).astype(np.float64)

        def scores(drawn: Doubles) -> Doubles:
            each = _ious(drawn.reshape(-1, 3, outputs))
            there = np.isfinite(each)
            mean = np.where(there, each, 0).sum(axis=1) / np.maximum(1, there.sum(axis=1))
            return np.concatenate([mean[:, None], each], axis=1)

        return statistics.bootstrap(sums, scores)

    @cached_property
    def largest(self) -> int:
        """The class that most pixels are truly of."""
        return int(self.confusion.sum(axis=1).argmax())

    @cached_property
    def floor(self) -> float:
        """mIoU of always answering the largest class."""
        pixels = self.confusion.sum(axis=1)
        return float(pixels.max() / max(1, pixels.sum()) / max(1, int((pixels > 0).sum())))

    @cached_property
    def scores(self) -> list[RegionScore]:
        """A score per class, in their order."""
        both, true, said = self.regions.sum(axis=0).tolist()
        made = []
        for i, iou in enumerate(self.ious.tolist()):
            made.append(
                RegionScore(
                    index=i,
                    pixels=true[i],
                    iou=iou if np.isfinite(iou) else None,
                    iou_interval=self.intervals[i + 1],
                    dice=2 * both[i] / (true[i] + said[i]) if true[i] + said[i] else None,
                    precision=both[i] / said[i] if said[i] else None,
                    recall=both[i] / true[i] if true[i] else None,
                    boundary_f1=float(self.outlines[0, i] / self.outlines[1, i]) if self.outlines[1, i] else None,
                )
            )
        return made


class SegmentSection(DenseSection[SegmentView]):
    """The section of the task `segment`."""

    metrics: Mapping[str, Metric] = {
        "miou": Metric("Mean IoU"),
        "dice": Metric("Dice"),
        "boundary_f1": Metric("Boundary F1"),
        "pixel_accuracy": Metric("Pixel accuracy"),
    }
    curves = (
        Curve(
            "metrics",
            "Metrics on val after each epoch",
            {"miou": "mean IoU", "dice": "Dice", "boundary_f1": "boundary F1", "pixel_accuracy": "pixels"},
            label="val",
        ),
    )
    anchors = (("classes", "Classes"), ("confusion", "Confusion"))
    columns = ("class", "pixels", "iou", "dice", "precision", "recall", "boundary_f1")
    alternatives: Mapping[str, str] = {}
    loss_note = "may add what the val loss has not (Dice, smoothing, class weights)"

    def view(self, task: Task, result: Evaluation) -> SegmentView:
        """What the meter counted."""
        meter, values = cast(SegmentMeter | None, result.meter), cast(Segment, task).values
        count = task.outputs
        ground = values.index(0) if 0 in values else None
        if meter is None or not meter.images:
            nothing = np.zeros((count, count), np.int64)
            regions = np.zeros((len(result.keys), 3, count), np.int64)
            return SegmentView(
                result.metrics, ground, nothing, regions, np.zeros((2, count)), result.losses, result.keys
            )
        regions = np.stack(meter.images)
        return SegmentView(result.metrics, ground, meter.confusion, regions, meter.outlines, result.losses, result.keys)

    def about(self, data: ReportData) -> str:
        """How many classes."""
        return f"a class per pixel, of {len(data.labels):,}"

    def hero(self, data: ReportData, view: SegmentView, split: str) -> Hero:
        """mIoU beside always answering the largest class."""
        interval = view.intervals[0]
        lines = [f"mean IoU on {view.images:,} {split} images"]
        if interval:
            lines.append(f"95% interval {percent(interval.low)} to {percent(interval.high)}")
        return Hero(
            percent(view.miou),
            lines,
            "Mean intersection over union, from 0 to 100 %",
            (interval.low, interval.high) if interval else None,
            (
                Mark("point", view.miou, f"model {percent(view.miou)}"),
                Mark("floor", view.floor, f"always “{data.labels[view.largest]}” {percent(view.floor)}"),
            ),
        )

    def verdict(self, data: ReportData, view: SegmentView, split: str) -> list[str]:
        """How well regions are met, how sure that is, what it is worth beside one answer for all, the hardest class."""
        spread = ranged(view.intervals[0], percent)
        draw = f" Another draw of as many images would most likely give {spread} (95% interval)." if spread else ""
        said = [
            f"On the {opening(view, split)}, the model's regions and the true ones share {percent(view.miou)} of what "
            f"they cover together (IoU, the mean over classes).{draw}",
            self._beside_one_answer(data, view, split),
        ]
        scored = [score for score in view.scores if score.iou is not None and score.pixels]
        if len(data.labels) == 2 and view.ground is not None:
            own = view.scores[1 - view.ground]
            if own.iou is not None:
                limits = ranged(own.iou_interval, percent)
                between = f" (95% interval: {limits})" if limits else ""
                said.append(f"“{data.labels[own.index]}” alone has an IoU of {percent(own.iou)}{between} on {split}.")
        elif len(scored) >= 3:
            worst = min(scored, key=lambda score: (score.iou or 0.0, score.index))
            said.append(f"The hardest class on {split} is “{data.labels[worst.index]}”: IoU {percent(worst.iou or 0)}.")
        return said

    def _beside_one_answer(self, data: ReportData, view: SegmentView, split: str) -> str:
        other = f"Answering “{data.labels[view.largest]}” for every pixel would give {percent(view.floor)} on {split}"
        interval = view.intervals[0]
        low, high = (interval.low, interval.high) if interval else (view.miou, view.miou)
        if high < view.floor:
            return f"{other}. This model does worse."
        if low <= view.floor:
            return f"{other}: this result cannot be told from that, so the model has learned nothing to rely on yet."
        return f"{other}: the model is better than that, beyond what chance in drawing the images explains."

    def cautions(self, data: ReportData, view: SegmentView, split: str) -> list[str]:
        """Classes that were never tested."""
        absent = [data.labels[score.index] for score in view.scores if not score.pixels]
        if not absent:
            return []
        return [f"No {split} pixel is of {len(absent):,} of the {len(data.labels):,} classes: {quoted(absent)}."]

    def figures(self, data: ReportData, view: SegmentView, split: str) -> Figures:
        """The confusion by pixels, of not too many classes."""
        if len(data.labels) > charts.MOST_CLASSES:
            return {}
        return {"confusion": charts.confusion(view.confusion, data.labels, split, "pixels, % of the row")}

    def context(self, data: ReportData, view: SegmentView, split: str, figures: Figures) -> dict[str, Any]:
        """The table of classes and the confusion by pixels."""
        few = len(data.labels) <= charts.MOST_CLASSES
        rows = sorted(view.scores, key=lambda score: (not score.pixels, score.iou or 0.0, score.index))
        pairs: list[Confused] = statistics.confused_pairs(view.confusion, PAIRS if few else 3 * PAIRS)
        return {
            "rows": rows[:TABLE_CLASSES],
            "hidden": len(rows) > TABLE_CLASSES,
            "total": max(1, int(view.confusion.sum())),
            "matrix": matrix(view.confusion, data.labels, "said to be", written="share") if few else None,
            "pairs": pairs if len(data.labels) > 2 else [],
        }

    def rows(self, data: ReportData, view: SegmentView) -> list[list[Any]]:
        """A row per class."""
        return [
            [label, s.pixels, s.iou, s.dice, s.precision, s.recall, s.boundary_f1]
            for label, s in zip(data.labels, view.scores, strict=True)
        ]

    def chosen(self, view: SegmentView, count: int) -> list[Chosen]:
        """By the loss per image."""
        order = np.argsort(view.losses, kind="stable")
        best = order[: min(count, max(0, len(order) - count))]
        note = "The largest loss. Worth a look: is it the model or the mask that errs?"
        easy = "The smallest loss, which is a mean over pixels: where there is little but ground, it is small."
        return [Chosen("Worst", note, order[::-1][:count].tolist()), Chosen("Best", easy, best.tolist())]

    def title(self, labels: Sequence[str], view: SegmentView, row: int) -> str:
        """The IoU on this image: of the one object class beside the ground, or the mean over its classes."""
        each = _ious(view.regions[row][None])[0]
        if len(labels) == 2 and view.ground is not None:
            only = each[1 - view.ground]
            name = labels[1 - view.ground]
            return f"IoU of {name} {percent(float(only))}" if np.isfinite(only) else f"no {name}, and none said"
        return f"mean IoU {percent(float(np.nanmean(each)))}" if np.isfinite(each).any() else "nothing known"

    def panels(
        self, task: Task, view: SegmentView, pixels: Pixels, truth: np.ndarray[Any, Any], said: Prediction
    ) -> list[Panel]:
        """The true classes over the image, the ones said, and where they differ."""
        of = cast(Segment, task)
        mask = said.arrays["mask"]
        told = np.where(mask == of.unseen, UNTOLD, of.encode(np.where(mask == of.unseen, of.values[0], mask)))
        hues = colours.of_classes(of.values)
        return [
            Panel("true", colours.laid_over(pixels, truth, hues)),
            Panel("said", colours.laid_over(pixels, told, hues)),
            Panel("where they differ", colours.differing(pixels, truth, told, view.ground)),
        ]

    def target(self, task: Task, view: SegmentView, pixels: Pixels, values: np.ndarray[Any, Any]) -> Panel:
        """The mask over the image."""
        hues = colours.of_classes(cast(Segment, task).values)
        return Panel("its mask", colours.laid_over(pixels, values, hues))

    def key(self, task: Task, view: SegmentView) -> Key:
        """The colour of each class, and of what is wrong."""
        of = cast(Segment, task)
        patches = [
            (f"rgb({' '.join(map(str, hue))})", label)
            for label, hue in zip(of.labels, colours.of_classes(of.values), strict=True)
            if hue is not None
        ][:TABLE_CLASSES]
        return Key(patches=patches)

    def error_key(self, task: Task, view: SegmentView) -> Key:
        """What the colours mean where they differ."""
        kinds = list(colours.WRONG)
        if view.ground is None:
            kinds = kinds[2:]
        elif task.outputs == 2:
            kinds = kinds[:2]
        return Key([(colours.WRONG[kind], kind) for kind in kinds], words="where they differ:")


SECTION = SegmentSection()


def _ious(regions: np.ndarray[Any, Any]) -> Doubles:
    """Sums of pixels rightly said, true and said, (R, 3, Y) -> intersection over union (R, Y), NaN where undefined."""
    both, true, said = (regions[:, i].astype(np.float64) for i in range(3))
    either = true + said - both
    with np.errstate(invalid="ignore"):
        shares: Doubles = both / np.where(either > 0, either, np.nan)
    return shares
