"""What a task's part of the report offers; one file in `sections/` is one task's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from PIL import Image

from vitrail.contracts import Pixels, Prediction, Task
from vitrail.report.charts import Curve, Figures
from vitrail.report.data import Key, Panel, ReportData, View, percent
from vitrail.report.statistics import Interval
from vitrail.tasks.regress import short

if TYPE_CHECKING:
    from vitrail.evaluate.evaluator import Evaluation

V = TypeVar("V", bound=View)

FEW = 100
"""Fewer scored images than this leave an interval too wide to compare two models by."""


@dataclass(frozen=True)
class Metric:
    """A metric in words. kind: a "share" is shown in percent, an "amount" in the target's unit, a "score" as it is."""

    words: str
    kind: Literal["share", "amount", "score"] = "share"


@dataclass(frozen=True)
class Mark:
    """A place on the ruler, a share of its length, and the words for it."""

    kind: Literal["point", "floor", "chance"]
    place: float
    words: str


@dataclass(frozen=True)
class Hero:
    """The figure at the top, and a ruler. interval: (low, high) as shares of the ruler's length, as marks are."""

    figure: str
    lines: Sequence[str]
    label: str
    interval: tuple[float, float] | None
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Chosen:
    """Rows of a view to be shown as pictures: title of the gallery, a note, and the rows in order."""

    title: str
    note: str
    rows: Sequence[int]


class Section(ABC, Generic[V]):
    """The part of a report that depends on the task. Its template is templates/sections/NAME.html.j2."""

    metrics: Mapping[str, Metric]
    curves: Sequence[Curve]
    anchors: Sequence[tuple[str, str]]
    """Anchors of its parts of the page, and their titles in the contents."""
    columns: Sequence[str]
    """Of per_class.csv, after `split`."""
    alternatives: Mapping[str, str]
    """Figures that its template shows -> what a screen reader says; of several of a kind, without their numbers."""
    dense: bool = False
    loss_note: str = "may include label smoothing"
    """How the training loss may differ from that of validation, besides augmentation."""

    @abstractmethod
    def view(self, task: Task, result: Evaluation) -> V:
        """What is kept of an evaluation."""

    @abstractmethod
    def about(self, data: ReportData) -> str:
        """What is learned, in a few words, for the page's second line."""

    @abstractmethod
    def hero(self, data: ReportData, view: V, split: str) -> Hero:
        """The first figure on the page."""

    @abstractmethod
    def verdict(self, data: ReportData, view: V, split: str) -> list[str]:
        """The result in a few sentences, each naming the split: how good, how sure that is, what it is worth."""

    def cautions(self, data: ReportData, view: V, split: str) -> list[str]:
        """What a reader must know before relying on the figures."""
        return []

    @abstractmethod
    def figures(self, data: ReportData, view: V, split: str) -> Figures:
        """Its figures beside the curves: file name without suffix -> figure."""

    @abstractmethod
    def context(self, data: ReportData, view: V, split: str, figures: Figures) -> dict[str, Any]:
        """What its template is given as `part`."""

    @abstractmethod
    def rows(self, data: ReportData, view: V) -> list[list[Any]]:
        """Rows of per_class.csv; None where a value is not defined."""

    @abstractmethod
    def chosen(self, view: V, count: int) -> list[Chosen]:
        """Which answers are worth a picture."""

    @abstractmethod
    def title(self, labels: Sequence[str], view: V, row: int) -> str:
        """What the model said of a row, and what is true."""

    def unit(self, view: V) -> str:
        """The unit of metrics that have one; "" where targets differ in it or have none."""
        return ""

    def shown(self, name: str, value: float, unit: str) -> str:
        """A metric's value as people read it."""
        kind = self.metrics[name].kind if name in self.metrics else ""
        if kind == "share":
            return percent(value)
        if kind == "score":
            return plain(value)
        return f"{short(value)} {unit if kind else ''}".rstrip()

    def words(self, name: str) -> str:
        """A metric's name as people read it."""
        metric = self.metrics.get(name)
        return metric.words if metric is not None else name.replace("_", " ").capitalize()


class DenseSection(Section[V]):
    """Of a task with a value per pixel, whose answers are drawn."""

    dense = True

    @abstractmethod
    def panels(self, task: Task, view: V, pixels: Pixels, truth: np.ndarray[Any, Any], said: Prediction) -> list[Panel]:
        """Truth and answer drawn, all of the image's own size. truth: encoded, (..., h, w)."""

    @abstractmethod
    def target(self, task: Task, view: V, pixels: Pixels, values: np.ndarray[Any, Any]) -> Panel:
        """An encoded target (..., H, W) drawn over pixels (H, W, C) as the model sees them."""

    @abstractmethod
    def key(self, task: Task, view: V) -> Key:
        """How targets and answers are coloured."""

    @abstractmethod
    def error_key(self, task: Task, view: V) -> Key:
        """How their difference is coloured."""


def plain(value: float, digits: int = 3) -> str:
    """A number with so many decimals, and no minus before nothing."""
    return f"{value:.{digits}f}".replace(f"-{0:.{digits}f}", f"{0:.{digits}f}")


def opening(view: View, split: str) -> str:
    """ "Of the 200 test images, which it had never seen": how a verdict begins."""
    seen = "which it had never seen" if split == "test" else "by which its best epoch was chosen"
    return f"{view.images:,} {split} images, {seen}"


def ranged(interval: Interval | None, show: Callable[[float], str]) -> str:
    """ "between 85.1% and 93.4%", or nothing."""
    return f"between {show(interval.low)} and {show(interval.high)}" if interval else ""


def fitted(image: Image.Image, side: int) -> Image.Image:
    """An image whose longest side is at most `side`."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
