"""The report on a number per pixel: how far off in its unit, said against true, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vitrail.contracts import Floats, Pixels, Prediction, Task
from vitrail.report import charts, colours, deviation
from vitrail.report.charts import Curve, Figures
from vitrail.report.data import Key, Panel, ReportData, Scale, percent
from vitrail.report.deviation import Named
from vitrail.report.section import Chosen, DenseSection, Hero, Metric
from vitrail.report.statistics import Doubles
from vitrail.tasks.depth import Depth
from vitrail.tasks.meters.maps import DepthMeter
from vitrail.tasks.regress import short

if TYPE_CHECKING:
    from vitrail.evaluate.evaluator import Evaluation

SHOWN = (0.005, 0.995)
"""Quantiles of the true values between which the colours run: one wild pixel would leave all others alike."""
ERRORS = 0.98
"""Quantile of the errors' size at which their colours end."""


@dataclass(frozen=True)
class DepthView:
    """What the model did on one split, in the pixels that it sees.

    sums (n, M, 7): of each image and map, as `deviation.SUMS` has them.  sample (k, 3): map, true and said of pixels
    spread evenly over the split.  losses (n,).  positive: known pixels whose truth is above 0.
    """

    metrics: Mapping[str, float]
    names: Sequence[str]
    units: Sequence[str]
    sums: Doubles
    sample: Doubles
    losses: Floats
    keys: Sequence[str]
    positive: int

    @property
    def images(self) -> int:
        """n: the images that were scored."""
        return len(self.keys)

    @cached_property
    def scored(self) -> list[Named]:
        """How each map fared; those that are known nowhere in the split are left out."""
        columns = zip(self.names, self.units, np.moveaxis(self.sums, 1, 0), strict=True)
        return [Named(name, unit, deviation.deviation(sums)) for name, unit, sums in columns if sums[:, 0].sum()]

    def pixels(self, place: int) -> tuple[Doubles, Doubles]:
        """True and said at the sampled pixels of one map, (k,) each."""
        rows = self.sample[self.sample[:, 0] == place]
        return rows[:, 1], rows[:, 2]

    @cached_property
    def ends(self) -> list[tuple[float, float]]:
        """Of each map, the values between which its colours run."""
        known = [self.pixels(place)[0] for place in range(len(self.names))]
        return [tuple(map(float, np.quantile(true, SHOWN))) if len(true) else (0.0, 1.0) for true in known]  # type: ignore[misc]

    @cached_property
    def reach(self) -> list[float]:
        """Of each map, the error at which its colours end."""
        pairs = [self.pixels(place) for place in range(len(self.names))]
        return [float(np.quantile(np.abs(said - true), ERRORS)) if len(true) else 1.0 for true, said in pairs]


class DepthSection(DenseSection[DepthView]):
    """The section of the task `depth`."""

    metrics: Mapping[str, Metric] = deviation.METRICS
    curves: Sequence[Curve] = (
        *deviation.CURVES,
        Curve(
            "ratios",
            "Relative error on val after each epoch",
            {"delta1": "δ < 1.25", "abs_rel": "AbsRel"},
            label="val pixels",
        ),
    )
    anchors = (("numbers", "Values"),)
    columns = ("map", "pixels", "mae", "rmse", "r2", "mae_of_mean")
    alternatives: Mapping[str, str] = {
        "said_against_true": "What was said against what is true, pixel by pixel",
        "residuals": "How far the answers are off over what is true, pixel by pixel",
        "histogram": "How often pixels are off by how much",
    }
    loss_note = "may be taken on parts of them"

    def view(self, task: Task, result: Evaluation) -> DepthView:
        """What the meter summed up."""
        of, meter = cast(Depth, task), cast(DepthMeter | None, result.meter)
        sums, sample, positive = np.zeros((len(result.keys), task.outputs, 7)), np.zeros((0, 3)), 0
        if meter is not None and meter.images:
            sums, sample, positive = np.stack(meter.images), meter.sample, int(meter.ratios[0])
        return DepthView(result.metrics, of.names, of.units, sums, sample, result.losses, result.keys, positive)

    def about(self, data: ReportData) -> str:
        """Which maps."""
        return f"{', '.join(data.labels)} per pixel"

    def unit(self, view: DepthView) -> str:
        """The map's, if it is one."""
        return view.units[0] if len(view.units) == 1 else ""

    def hero(self, data: ReportData, view: DepthView, split: str) -> Hero:
        """The error beside always answering the mean."""
        if not view.scored:
            return Hero("–", (f"no {split} image has a known pixel",), "Nothing was known", None, ())
        return deviation.hero(view.scored, view.images, split, "maps")

    def verdict(self, data: ReportData, view: DepthView, split: str) -> list[str]:
        """How far off, and beside the mean."""
        if not view.scored:
            return [f"In no {split} image is a true value known, so this page cannot say how good the model is."]
        said = deviation.verdict(view.scored, view, split, " over all known pixels")
        known = int(view.sums[..., 0].sum())
        if 0 < view.positive < known:
            share = percent(view.positive / known)
            said.append(
                f"The relative error, and how much is within a factor of 1.25, are over the {view.positive:,} of the "
                f"{known:,} known {split} pixels ({share}) whose truth is above 0: by 0 nothing can be divided."
            )
        return said

    def figures(self, data: ReportData, view: DepthView, split: str) -> Figures:
        """Three for each map."""
        figures: Figures = {}
        what = f"{split} pixels"
        for place, unit in enumerate(view.units):
            true, said = view.pixels(place)
            if len(true):
                ending = self._ending(view, place)
                figures[f"said_against_true{ending}"] = charts.against_truth(true, said, unit, what)
                figures[f"residuals{ending}"] = charts.residuals(true, said, unit, what)
                figures[f"histogram{ending}"] = charts.histogram(said - true, unit, what)
        return figures

    def _ending(self, view: DepthView, place: int) -> str:
        return f"_{place + 1}" if len(view.names) > 1 else ""

    def context(self, data: ReportData, view: DepthView, split: str, figures: Figures) -> dict[str, Any]:
        """A block for each map."""
        places = {name: place for place, name in enumerate(view.names)}
        return {
            "blocks": [
                {
                    "name": named.name,
                    "rows": deviation.table(named),
                    "figures": [f"{name}{self._ending(view, places[named.name])}" for name in self.alternatives],
                    "bias": "",
                }
                for named in view.scored
            ],
            "several": len(view.names) > 1,
            "sampled": len(view.sample),
            "pixels": int(view.sums[..., 0].sum()),
        }

    def rows(self, data: ReportData, view: DepthView) -> list[list[Any]]:
        """A row per map."""
        pixels = dict(zip(view.names, view.sums[..., 0].sum(axis=0).astype(int).tolist(), strict=True))
        return [
            [
                named.name, pixels[named.name], named.of.mae.value, named.of.rmse.value,
                named.of.r2.value if named.of.r2 else None, named.of.usual_mae,
            ]
            for named in view.scored
        ]  # fmt: skip

    def chosen(self, view: DepthView, count: int) -> list[Chosen]:
        """By the loss per image."""
        order = np.argsort(view.losses, kind="stable")
        best = order[: min(count, max(0, len(order) - count))]
        note = "The largest loss. Worth a look: is it the model or the map that errs?"
        return [Chosen("Worst", note, order[::-1][:count].tolist()), Chosen("Best", "", best.tolist())]

    def title(self, labels: Sequence[str], view: DepthView, row: int) -> str:
        """The mean error on this image."""
        told = [
            f"{name} off by {short(absolute / count)} {unit}".rstrip()
            for name, unit, (count, absolute) in zip(view.names, view.units, view.sums[row, :, :2], strict=True)
            if count
        ]
        return ", ".join(told) or "nothing known"

    def panels(
        self, task: Task, view: DepthView, pixels: Pixels, truth: np.ndarray[Any, Any], said: Prediction
    ) -> list[Panel]:
        """The true map and the one said on one scale, and how far the latter is off."""
        made = []
        for place, (true, told) in enumerate(zip(truth, said.arrays["maps"], strict=True)):
            of = f"{view.names[place]}: " if len(view.names) > 1 else ""
            low, high = view.ends[place]
            made += [
                Panel(f"{of}true", colours.scaled(true, low, high)),
                Panel(f"{of}said", colours.scaled(told, low, high)),
                Panel(f"{of}said - true", colours.off(told - true, view.reach[place])),
            ]
        return made

    def target(self, task: Task, view: DepthView, pixels: Pixels, values: np.ndarray[Any, Any]) -> Panel:
        """The first map."""
        name = f"its map of {view.names[0]}" if len(view.names) > 1 else "its map"
        return Panel(name, colours.scaled(values[0], *view.ends[0]))

    def key(self, task: Task, view: DepthView) -> Key:
        """The scale of each map."""
        scales = [
            Scale(name, f"{short(low)} {unit}".rstrip(), f"{short(high)} {unit}".rstrip(), colours.gradient("values"))
            for name, unit, (low, high) in zip(view.names, view.units, view.ends, strict=True)
        ]
        return Key(scales=scales)

    def error_key(self, task: Task, view: DepthView) -> Key:
        """The scale of each map's errors."""
        several = len(view.names) > 1
        scales = [
            Scale(
                f"{name}, said - true" if several else "said - true",
                f"-{short(reach)} {unit}".rstrip(),
                f"{short(reach)} {unit}".rstrip(),
                colours.gradient("off"),
            )
            for name, unit, reach in zip(view.names, view.units, view.reach, strict=True)
        ]
        return Key(scales=scales)


SECTION = DepthSection()
