"""The report on numbers: how far off in their units, said against true, residuals, stated intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vitrail.contracts import Floats, Task
from vitrail.report import charts, deviation, statistics
from vitrail.report.charts import Figures
from vitrail.report.data import ReportData, percent
from vitrail.report.deviation import Named
from vitrail.report.section import Chosen, Hero, Metric, Section
from vitrail.report.statistics import Doubles
from vitrail.tasks.regress import COVERAGE, HALF_WIDTH, Regress, short

if TYPE_CHECKING:
    from vitrail.evaluate.evaluator import Evaluation


@dataclass(frozen=True)
class RegressView:
    """What the model did on one split.

    said, true (n, T): in the targets' units.  spread (n, T): the standard deviation the model states, None where it
    states none.  usual (T,): the training mean.  scale (T,): its standard deviation.  losses (n,).
    """

    metrics: Mapping[str, float]
    names: Sequence[str]
    units: Sequence[str]
    said: Doubles
    true: Doubles
    spread: Doubles | None
    usual: Sequence[float]
    scale: Sequence[float]
    losses: Floats
    keys: Sequence[str]

    @property
    def images(self) -> int:
        """n: the images that were scored."""
        return len(self.true)

    @cached_property
    def scored(self) -> list[Named]:
        """How each target fared."""
        columns = zip(self.names, self.units, self.true.T, self.said.T, self.usual, strict=True)
        return [
            Named(name, unit, deviation.deviation(deviation.image_sums(true, said, usual)))
            for name, unit, true, said, usual in columns
        ]

    @cached_property
    def inside(self) -> list[int]:
        """How many true values of each target lie in the 90 % interval that was stated."""
        assert self.spread is not None
        hits: list[int] = (np.abs(self.said - self.true) <= HALF_WIDTH * self.spread).sum(axis=0).tolist()
        return hits

    @cached_property
    def apart(self) -> Doubles:
        """(n,) how far each image's answers are off, in training standard deviations, the mean over targets."""
        off: Doubles = (np.abs(self.said - self.true) / np.asarray(self.scale)).mean(axis=1)
        return off


class RegressSection(Section[RegressView]):
    """The section of the task `regress`."""

    metrics: Mapping[str, Metric] = deviation.METRICS
    curves = deviation.CURVES
    anchors = (("numbers", "Numbers"),)
    columns = ("target", "images", "mae", "rmse", "r2", "pearson", "mae_of_mean", "coverage90")
    alternatives: Mapping[str, str] = {
        "said_against_true": "What was said against what is true",
        "residuals": "How far the answers are off over what is true",
        "histogram": "How often the answers are off by how much",
    }
    loss_note = "may be taken on mixed ones"

    def view(self, task: Task, result: Evaluation) -> RegressView:
        """Answers in the targets' units."""
        of = cast(Regress, task)
        empty = np.zeros((0, len(of.names)))
        said = of.values(result.outputs) if len(result.keys) else empty
        spread = of.deviations(result.outputs) if of.uncertain and len(result.keys) else None
        true = result.targets.astype(np.float64) if len(result.keys) else empty
        return RegressView(
            result.metrics, of.names, of.units, said, true, spread, of.mean, of.std, result.losses, result.keys
        )

    def about(self, data: ReportData) -> str:
        """Which numbers."""
        return ", ".join(data.labels[:6]) + (f" and {len(data.labels) - 6} more" if len(data.labels) > 6 else "")

    def unit(self, view: RegressView) -> str:
        """The target's, if it is one."""
        return view.units[0] if len(view.units) == 1 else ""

    def hero(self, data: ReportData, view: RegressView, split: str) -> Hero:
        """The error beside always answering the mean."""
        return deviation.hero(view.scored, view.images, split, "numbers")

    def verdict(self, data: ReportData, view: RegressView, split: str) -> list[str]:
        """How far off, beside the mean, and whether stated intervals hold what they promise."""
        held = self._coverage(view, split) if len(view.names) == 1 else []  # of several, the section says it
        return deviation.verdict(view.scored, view, split, "") + held

    def _coverage(self, view: RegressView, split: str) -> list[str]:
        if view.spread is None:
            return []
        said = []
        for name, hits in zip(view.names, view.inside, strict=True):
            share, interval = hits / view.images, statistics.wilson(hits, view.images)
            if interval.low <= COVERAGE <= interval.high:
                means = "as they promise"
            else:
                means = "they are too narrow" if share < COVERAGE else "they are wider than they need be"
            said.append(
                f"The intervals that the model states for {name} should hold 90% of the true values; on the {split} "
                f"images they hold {percent(share)}: {means}."
            )
        return said

    def figures(self, data: ReportData, view: RegressView, split: str) -> Figures:
        """Three for each target."""
        figures: Figures = {}
        what = f"{split} images"
        for place, (unit, true, said) in enumerate(zip(view.units, view.true.T, view.said.T, strict=True), start=1):
            ending = f"_{place}" if len(view.names) > 1 else ""
            figures[f"said_against_true{ending}"] = charts.against_truth(true, said, unit, what)
            figures[f"residuals{ending}"] = charts.residuals(true, said, unit, what)
            figures[f"histogram{ending}"] = charts.histogram(said - true, unit, what)
        return figures

    def context(self, data: ReportData, view: RegressView, split: str, figures: Figures) -> dict[str, Any]:
        """A block for each target."""
        several = len(view.names) > 1
        return {
            "blocks": [
                {
                    "name": named.name,
                    "rows": deviation.table(named),
                    "figures": [f"{name}{f'_{place}' if several else ''}" for name in self.alternatives],
                    "bias": self._bias(view, place - 1, split),
                }
                for place, named in enumerate(view.scored, start=1)
            ],
            "several": several,
            "coverage": self._coverage(view, split),
        }

    def _bias(self, view: RegressView, place: int, split: str) -> str:
        off, named = view.said[:, place] - view.true[:, place], view.scored[place]
        mean = float(off.mean())
        error = float(off.std(ddof=1)) / len(off) ** 0.5 if len(off) > 1 else np.inf
        if abs(mean) <= 2 * error:
            return f"On the {split} images its answers lean neither up nor down, as far as so many images can tell."
        way = "too high" if mean > 0 else "too low"
        return f"On the {split} images its answers are {named.amount(abs(mean))} {way} on average."

    def rows(self, data: ReportData, view: RegressView) -> list[list[Any]]:
        """A row per target."""
        made = []
        for place, named in enumerate(view.scored if view.images else []):
            of = named.of
            held = view.inside[place] / view.images if view.spread is not None else None
            r2, pearson = (each.value if each else None for each in (of.r2, of.pearson))
            made.append([named.name, view.images, of.mae.value, of.rmse.value, r2, pearson, of.usual_mae, held])
        return made

    def chosen(self, view: RegressView, count: int) -> list[Chosen]:
        """By how far the answers are off."""
        order = np.argsort(view.apart, kind="stable")
        note = "Worth a look: is it the model or the number in the table that errs?"
        worst, best = order[::-1][:count], order[: min(count, max(0, len(order) - count))]
        return [Chosen("Farthest off", note, worst.tolist()), Chosen("Nearest", "", best.tolist())]

    def title(self, labels: Sequence[str], view: RegressView, row: int) -> str:
        """What was said of each number, and what is true."""
        told = []
        for place, (name, unit) in enumerate(zip(view.names, view.units, strict=True)):
            spread = f" ± {short(view.spread[row, place])}" if view.spread is not None else ""
            said, true = short(view.said[row, place]), f"{view.true[row, place]:,.6g}"  # as it was given
            told.append(f"{name} {said}{spread}, true {true} {unit}".rstrip())
        return "; ".join(told)


SECTION = RegressSection()
