"""Whether a run's stated confidence can be believed: read from the predictions that it left, no model is run."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np

from vitrail.contracts import SPLIT_COLUMN
from vitrail.report.statistics import draws, reliability
from vitrail.run.folder import Run
from vitrail.study.statistics.intervals import Interval, between, over_images

BINS = 15
Z = 1.959963984540054
"""The normal distribution's middle 95 % lie within so many standard deviations."""
NONE = {
    "multilabel": "labels that may stand together have no one confidence to compare with being right",
    "segment": "confidence is not kept for every pixel",
    "depth": "the model states no spread of its answers",
}
"""Task -> why there is none."""


@dataclass(frozen=True)
class Calibration:
    """Of the images of a split. figures: name -> its value with the bootstrap's interval over images.

    ece: mean |confidence - accuracy| over 15 bins of confidence, fewer images than some hundreds make it look larger.
    brier: mean square of confidence - whether the answer was right, of the answer given (0 is best).  nll: mean
    negative log-probability of the true class.  coverage/TARGET: share of true numbers within the middle 95 % of the
    distribution that was stated.
    """

    split: str
    images: int
    figures: dict[str, Interval]


def calibration(run: Run, task: str, split: str) -> tuple[Calibration | None, str]:
    """From predictions.csv of a finished run; or None and why."""
    if task in NONE:
        return None, f"not measured: {NONE[task]}"
    try:
        with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row[SPLIT_COLUMN] == split and row["status"] == "ok"]
    except (OSError, KeyError):
        return None, "not measured: the run has no predictions.csv that says what it answered"
    if not rows:
        return None, f"not measured: the run answered for no image of its {split} split"
    if task == "classify":
        figures = _of_classes(rows)
        known = run.metrics.get(split, {}).get("loss")
        if known is not None:
            figures["nll"] = Interval(known, float("nan"), float("nan"))
    else:
        figures = _of_numbers(rows)
        if not figures:
            return None, "not measured: the model states no spread of its answers (task.loss=nll would)"
    return Calibration(split, len(rows), figures), ""


def _of_classes(rows: list[dict[str, str]]) -> dict[str, Interval]:
    sure = np.array([float(row["confidence"]) for row in rows])
    right = np.array([row["label"] == row["target"] for row in rows], dtype=np.float64)
    which = np.arange(len(rows))

    def ece(taken: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        # two classes, "what was said" with the stated confidence and "another", of which the second is never larger
        said = sure[taken].astype(np.float32)[:, None]
        return reliability(
            np.concatenate([said, np.zeros_like(said)], axis=1), 1 - right[taken].astype(np.int64), BINS
        ).ece

    drawn = [ece(np.repeat(which, counts.astype(np.int64))) for block in draws(len(rows)) for counts in block]
    return {
        "ece": between(ece(which), np.array(drawn)),
        "brier": over_images((sure - right) ** 2),
    }


def _of_numbers(rows: list[dict[str, str]]) -> dict[str, Interval]:
    names = [
        name.removesuffix("_std") for name in rows[0] if name.endswith("_std") and name.removesuffix("_std") in rows[0]
    ]
    figures = {}
    for name in names:
        true, said, spread = (
            np.array([float(row[key]) for row in rows]) for key in (name, f"{name}_pred", f"{name}_std")
        )
        figures[f"coverage/{name}"] = over_images((np.abs(true - said) <= Z * spread).astype(np.float64))
    return figures
