"""What the figures say, in sentences. Every sentence names the split its numbers are from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.report.charts import number
from vitrail.report.data import ReportData, percent
from vitrail.report.section import FEW
from vitrail.report.sections import section_of


def verdict(data: ReportData) -> list[str]:
    """The result in a few sentences: how good, how sure that is, and what it is worth beside knowing nothing."""
    split = data.subject
    if split is None or not data.evaluations[split].images:
        return ["No split was scored, so this page cannot say how good the model is."]
    return section_of(data.config.task.name).verdict(data, data.evaluations[split], split)


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
    if view.images:
        notes += section_of(data.config.task.name).cautions(data, view, split)
    return notes


def _sets(number: int) -> str:
    return f"{number:,} set{'s' if number != 1 else ''}"


def training(data: ReportData) -> list[str]:
    """What the curves say: which epoch was kept, and whether more or fewer would have served."""
    epochs = [row for row in data.history if number(row.get("epoch")) is not None]
    notes = [data.taught] if data.taught else []
    if len(epochs) < 2:
        return notes
    section = section_of(data.config.task.name)
    last = float(epochs[-1]["epoch"])
    if data.best_epoch is not None:
        best = _inside(section.words(data.headline))
        notes.append(f"The weights of epoch {data.best_epoch:g} of {last:g} were kept: best val {best}.")
        if data.best_epoch == last:
            notes.append("The best epoch is the last: more epochs would probably help.")
    losses = [(value, row) for row in epochs if (value := number(row.get("val/loss"))) is not None]
    if len(losses) >= 4:
        lowest, at = min(losses, key=lambda pair: pair[0])
        final = losses[-1][0]
        if final > 1.1 * lowest > 0:
            notes.append(
                f"The val loss was lowest after epoch {float(at['epoch']):g} and rose by "
                f"{percent(final / lowest - 1)} since: the model has begun to learn the training images by heart."
            )
    notes.append(
        f"The training loss is taken on augmented images and {section.loss_note}, so it can stand above the val loss; "
        "the two are compared by their course, not by their height."
    )
    return notes


def _inside(name: str) -> str:
    """A metric's name inside a sentence: "accuracy", "mean IoU", but "AUROC"."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


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


def setting(value: Any) -> str:
    """What a field of the config was set to."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(part) for part in value)
    return str(value)


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
    "parameters_that_fill_in": ("Parameters that only fill in", _large),
    "gmacs": ("Multiply-accumulates per image", lambda amount: _large(amount * 1e9)),
    "flops": ("Floating-point operations per image", _large),
    "train_seconds": ("Training", seconds),
    "eval_seconds": ("Evaluation", seconds),
    "seconds_to_report": ("From start to this report", seconds),
    "seconds_asked": ("Time that was asked for", seconds),
    "images_per_s": ("Training speed", lambda amount: f"{amount:,.4g} images/s"),
    "eval_images_per_s": ("Evaluation speed", lambda amount: f"{amount:,.4g} images/s"),
    "peak_memory_mb": ("Peak memory of the process", _megabytes),
    "model_mb": ("Model file", _megabytes),
}
