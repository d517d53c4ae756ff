"""What the figures say, in sentences. Every sentence names the split its numbers are from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.report.data import EvaluationView, ReportData, percent

FEW = 100
"""Fewer scored images than this leave an interval too wide to compare two models by."""


METRICS = {
    "accuracy": "Accuracy",
    "accuracy_top5": "Top-5 accuracy",
    "f1_macro": "Macro F1",
    "auroc": "AUROC",
    "ece": "Calibration error",
}
"""Metrics that are fractions -> their names in words."""


def number(value: Any) -> float | None:
    """A value of results.csv as a finite float; None for an empty cell, text or NaN."""
    try:
        read = float(value)
    except (TypeError, ValueError):
        return None
    return read if math.isfinite(read) else None


def verdict(data: ReportData) -> list[str]:
    """The result in a few sentences: how often right, how sure that is, and what it is worth beside guessing."""
    split = data.subject
    if split is None or not data.evaluations[split].images:
        return ["No split was scored, so this page cannot say how good the model is."]
    view, labels = data.evaluations[split], data.labels
    low, high = percent(view.interval.low), percent(view.interval.high)
    seen = "which it had never seen" if split == "test" else "by which its best epoch was chosen"
    return [
        f"Of the {view.images:,} {split} images, {seen}, the model puts {percent(view.accuracy)} in the right class. "
        f"Another draw of as many images would most likely give between {low} and {high} (95% interval).",
        _beside_guessing(view, split, labels),
        *_weakest(view, labels, split),
    ]


def _beside_guessing(view: EvaluationView, split: str, labels: Sequence[str]) -> str:
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


def _weakest(view: EvaluationView, labels: Sequence[str], split: str) -> list[str]:
    scored = [score for score in view.per_class if score.images >= 5 and score.recall is not None]
    if len(scored) < 3:
        return []
    worst = min(scored, key=lambda score: (score.recall or 0.0, score.index))
    if worst.recall is None or worst.recall > view.accuracy - 0.05:
        return []
    said = f", most often taken for “{labels[worst.mistaken]}”" if worst.mistaken is not None else ""
    found = f"{round(worst.recall * worst.images)} of {worst.images}"
    return [f"The hardest class is “{labels[worst.index]}”: {found} {split} images found{said}."]


def cautions(data: ReportData) -> list[str]:
    """What a reader must know before relying on the figures: the run's own warnings, and what the figures show."""
    notes = [str(warning) for warning in data.warnings]
    twice = data.audit.get("duplicates", {})
    if twice.get("across_splits"):
        notes.append(
            f"Files with the same bytes stand in more than one split ({_sets(twice['across_splits'])}): "
            "the figures may flatter."
        )
    if twice.get("across_classes"):
        notes.append(
            f"Files with the same bytes carry different labels ({_sets(twice['across_classes'])}): some must be wrong."
        )
    split = data.subject
    if split is None:
        return notes
    view = data.evaluations[split]
    if split == "val":
        notes.append(
            "There is no test split. These figures are from the validation images, which also chose the best epoch, "
            "so they flatter the model a little."
        )
    if 0 < view.images < FEW:
        notes.append(f"Only {view.images} {split} images: small differences between models cannot be told apart.")
    absent = [data.labels[score.index] for score in view.per_class if score.images == 0]
    if absent and view.images:
        shown = ", ".join(f"“{label}”" for label in absent[:5])
        shown += f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
        notes.append(f"No {split} image of {len(absent):,} of the {len(data.labels):,} classes: {shown}.")
    return notes


def _sets(number: int) -> str:
    return f"{number:,} set{'s' if number != 1 else ''}"


def training(data: ReportData) -> list[str]:
    """What the curves say: which epoch was kept, and whether more or fewer would have served."""
    epochs = [row for row in data.history if number(row.get("epoch")) is not None]
    if len(epochs) < 2:
        return []
    last = int(float(epochs[-1]["epoch"]))
    notes = []
    if data.best_epoch is not None:
        first, best = int(float(epochs[0]["epoch"])), data.headline.replace("_", " ")
        notes.append(f"The weights of epoch {data.best_epoch} (of {first} to {last}) were kept: best val {best}.")
        if data.best_epoch == last:
            notes.append("The best epoch is the last: more epochs would probably help.")
    losses = [(value, row) for row in epochs if (value := number(row.get("val/loss"))) is not None]
    if len(losses) >= 4:
        lowest, at = min(losses, key=lambda pair: pair[0])
        final = losses[-1][0]
        if final > 1.1 * lowest:
            notes.append(
                f"The val loss was lowest after epoch {int(float(at['epoch']))} and rose by "
                f"{percent(final / lowest - 1)} since: the model has begun to learn the training images by heart."
            )
    notes.append(
        "The training loss is taken on augmented images and may include label smoothing, so it can stand above the "
        "val loss; the two are compared by their course, not by their height."
    )
    return notes


def calibration(view: EvaluationView, split: str) -> str:
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


def cost_rows(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The cost as (what, how much) in words; keys without a phrase of their own are shown as they are."""
    rows = []
    for key, value in cost.items():
        if value is None:
            continue
        amount = number(value) if not isinstance(value, bool) else None
        if amount is None or key not in _COST:
            rows.append((key.replace("_", " ").capitalize(), f"{amount:,.4g}" if amount is not None else str(value)))
        else:
            phrase, shown = _COST[key]
            rows.append((phrase, shown(amount)))
    return rows


def seconds(amount: float) -> str:
    """Seconds as people say them."""
    if amount < 10:
        return f"{amount:.2g} s"
    if amount < 60:
        return f"{amount:.0f} s"
    whole = round(amount)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _megabytes(amount: float) -> str:
    return f"{amount / 1024:.1f} GiB" if amount >= 1024 else f"{amount:.0f} MiB"


def _large(amount: float) -> str:
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount:,.0f}"


_COST = {
    "parameters": ("Parameters", _large),
    "gmacs": ("Multiply-accumulates per image", lambda amount: _large(amount * 1e9)),
    "flops": ("Floating-point operations per image", _large),
    "train_seconds": ("Training", seconds),
    "eval_seconds": ("Evaluation", seconds),
    "seconds_to_report": ("From start to this report", seconds),
    "images_per_s": ("Training speed", lambda amount: f"{amount:,.4g} images/s"),
    "eval_images_per_s": ("Evaluation speed", lambda amount: f"{amount:,.4g} images/s"),
    "peak_memory_mb": ("Peak memory of the process", _megabytes),
    "model_mb": ("Model file", _megabytes),
}
