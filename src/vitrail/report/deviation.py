"""How far numbers are from the truth, with intervals, and beside always answering the mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.report.charts import Curve
from vitrail.report.data import percent
from vitrail.report.section import Hero, Mark, Metric, opening, plain, ranged
from vitrail.report.statistics import Doubles, Interval, bootstrap
from vitrail.tasks.regress import short

METRICS = {
    "mae": Metric("Mean absolute error", "amount"),
    "rmse": Metric("Root mean squared error", "amount"),
    "r2": Metric("R²", "score"),
    "pearson": Metric("Pearson correlation", "score"),
    "coverage90": Metric("Inside the 90% interval"),
    "abs_rel": Metric("Relative error"),
    "delta1": Metric("Within a factor of 1.25"),
    "delta2": Metric("Within a factor of 1.56"),
    "delta3": Metric("Within a factor of 1.95"),
}
CURVES = (
    Curve("errors", "Errors on val after each epoch", {"mae": "MAE", "rmse": "RMSE"}, share=False, label="val error"),
    Curve("fit", "Fit on val after each epoch", {"r2": "R²", "pearson": "Pearson"}, share=False, label="val"),
)

SUMS = 10
"""Of each image: how many numbers, then over them the sums of |said - true|, its square, true, its square,
|true - mean|, its square, said, its square, said * true. The last three may be missing."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over draws of images."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Deviation:
    """How one kind of number fared; None where it is not defined.

    mae, rmse: in its unit.  ratio: the mean absolute error as a share of the one that always answering the training
    mean makes, which is `usual_mae`.
    """

    mae: Estimate
    rmse: Estimate
    r2: Estimate | None
    pearson: Estimate | None
    ratio: Estimate | None
    usual_mae: float
    usual_rmse: float

    @property
    def usual_r2(self) -> float | None:
        """R² of always answering the training mean: 0, or below where the split has another mean."""
        if self.r2 is None or not self.rmse.value:
            return None
        return min(0.0, 1 - (1 - self.r2.value) * (self.usual_rmse / self.rmse.value) ** 2)


def deviation(sums: Doubles) -> Deviation:
    """From the SUMS of each image, (n, 7) or (n, 10), n at least 1."""
    values = _statistics(sums.sum(axis=0, keepdims=True))[0]
    intervals = bootstrap(sums, _statistics) if len(sums) > 1 else [None] * len(values)
    mae, rmse, r2, pearson, ratio, usual_mae, usual_rmse = (
        Estimate(float(value), interval) for value, interval in zip(values, intervals, strict=True)
    )
    r2, pearson, ratio = (each if np.isfinite(each.value) else None for each in (r2, pearson, ratio))  # type: ignore[assignment]
    return Deviation(mae, rmse, r2, pearson, ratio, usual_mae.value, usual_rmse.value)


def image_sums(true: Doubles, said: Doubles, usual: float) -> Doubles:
    """The SUMS of images with one number each, (n,) -> (n, 10)."""
    off, from_usual = said - true, true - usual
    parts = (np.ones_like(true), np.abs(off), off**2, true, true**2, np.abs(from_usual), from_usual**2)
    return np.stack([*parts, said, said**2, said * true], axis=1)


def _statistics(sums: Doubles) -> Doubles:
    """(R, 7 or 10) -> (R, 7): mae, rmse, r2, pearson, ratio, and mae and rmse of always answering the mean."""
    count, absolute, squared, total, squares, off, off_squared, *more = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = squares - total**2 / count
        spread = np.where(spread > 1e-12 * np.maximum(1, squares), spread, np.nan)
        pearson = np.full(len(sums), np.nan)
        if more:
            said, said_squares, product = more
            own = said_squares - said**2 / count
            own = np.where(own > 1e-12 * np.maximum(1, said_squares), own, np.nan)
            pearson = (product - total * said / count) / np.sqrt(spread * own)
        ratio = absolute / np.where(off > 0, off, np.nan)
        rows = [
            absolute / count, np.sqrt(squared / count), 1 - squared / spread, pearson, ratio,
            off / count, np.sqrt(off_squared / count),
        ]  # fmt: skip
    return np.stack(rows, axis=1)


# -------------------------------------------------------------------------------------------------------- in words


@dataclass(frozen=True)
class Named:
    """A number or map that is learned: its name, its unit ("" unknown) and how it fared."""

    name: str
    unit: str
    of: Deviation

    def amount(self, value: float) -> str:
        """A value in its unit."""
        return f"{short(value)} {self.unit}".rstrip()


def table(named: Named) -> list[tuple[str, str, str, str]]:
    """(what, model, 95 % interval, always the mean) in words."""
    of = named.of
    rows: list[tuple[str, Estimate | None, Callable[[float], str], str]] = [
        ("Mean absolute error", of.mae, named.amount, named.amount(of.usual_mae)),
        ("Root mean squared error", of.rmse, named.amount, named.amount(of.usual_rmse)),
        ("R²", of.r2, plain, "–" if of.usual_r2 is None else plain(of.usual_r2)),
        ("Pearson correlation", of.pearson, plain, "–"),
    ]
    return [
        (what, show(each.value), f"{show(i.low)} to {show(i.high)}" if (i := each.interval) else "–", usual)
        for what, each, show, usual in rows
        if each is not None
    ]


def hero(scored: Sequence[Named], images: int, split: str, what: str) -> Hero:
    """The error of one kind of number in its unit, or of several beside always answering the mean. what: "depth"."""
    where = f"{images:,} {split} images"
    if len(scored) == 1:
        only = scored[0]
        mae, usual = only.of.mae, only.of.usual_mae
        high = mae.interval.high if mae.interval else mae.value
        length = 1.1 * max(high, usual, mae.value) or 1.0
        lines = [f"mean absolute error of {only.name} on {where}"]
        if mae.interval:
            lines.append(f"95% interval {only.amount(mae.interval.low)} to {only.amount(mae.interval.high)}")
        return Hero(
            only.amount(mae.value),
            lines,
            "Error beside always answering the mean; left is none",
            (mae.interval.low / length, mae.interval.high / length) if mae.interval else None,
            (
                Mark("point", mae.value / length, f"model {only.amount(mae.value)}"),
                Mark("floor", usual / length, f"always the training mean {only.amount(usual)}"),
            ),
        )
    ratio = float(np.mean([each.of.ratio.value for each in scored if each.of.ratio] or [1.0]))
    length = 1.1 * max(1.0, ratio)
    return Hero(
        percent(ratio),
        (f"of the error of always answering the mean, over {len(scored)} {what}", f"on {where}"),
        "Error as a share of that of always answering the mean; left is none",
        None,
        (
            Mark("point", ratio / length, f"model {percent(ratio)}"),
            Mark("floor", 1 / length, "always the training mean 100%"),
        ),
    )


def verdict(scored: Sequence[Named], view: Any, split: str, each: str) -> list[str]:
    """How far off, how sure that is, what it is worth beside always answering the mean. each: of what it is."""
    said = []
    for place, named in enumerate(scored):
        mae = named.of.mae
        start = f"On the {opening(view, split)}" if not place else f"On the same {split} images"
        spread = ranged(mae.interval, named.amount)
        draw = f" Another draw of as many images would most likely give {spread} (95% interval)." if spread else ""
        said.append(f"{start}, {named.name} is off by {named.amount(mae.value)} on average{each}.{draw}")
        said.append(_beside_the_mean(named, split, explained=not place))
    return said


def _beside_the_mean(named: Named, split: str, explained: bool) -> str:
    of = named.of
    other = f"Always answering the mean of the training images would be off by {named.amount(of.usual_mae)}"
    if of.ratio is None:
        return f"{other}: all {split} images have that very value, so nothing can be said of what was learned."
    low, high = (of.ratio.interval.low, of.ratio.interval.high) if of.ratio.interval else (of.ratio.value,) * 2
    means = ": 1 is perfect, 0 no better than their mean" if explained else ""
    fit = f" R² is {plain(of.r2.value, 2)} on the {split} images{means}." if of.r2 else ""
    if low > 1:
        return f"{other}. This model does worse.{fit}"
    if high >= 1:
        return f"{other}: this result cannot be told from that, so the model has learned nothing to rely on yet.{fit}"
    return f"{other}; the model's error is {percent(of.ratio.value)} of that.{fit}"
