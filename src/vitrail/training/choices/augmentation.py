"""What is random about a training image: what a recipe wishes for, as far as the task and the images allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.errors import UsageError
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Facts, Wish

CONTENT = ("randaugment_ops", "three", "mixup", "cutmix", "erase", "jitter")
"""Fields of augment that change what a pixel says."""


def choose_augmentation(chooser: Chooser, wishes: Mapping[str, Wish]) -> None:
    """Pick `augment.NAME` for each wish, or what the task allows of it; mirroring goes by the data alone."""
    facts = chooser.facts
    keep = "class" if facts.task == "classify" else "target"
    chooser.pick("augment.flip", facts.flip, f"mirrored images keep their {keep}" if facts.flip else "the data says no")
    for name, wish in wishes.items():
        chooser.pick(f"augment.{name}", *_allowed(facts, name, *wish))


def _allowed(facts: Facts, name: str, value: Any, why: str) -> Wish:
    if facts.dense and name in ("randaugment_ops", "three"):
        return type(value)(0), "image and target would part"
    if facts.dense and name in ("mixup", "cutmix"):
        return 0.0, f"{facts.task} has no loss for mixed images"
    if facts.dense and name == "erase":
        return 0.0, "what is erased would still have a truth"
    if facts.task == "regress" and name in CONTENT:
        return type(value)(0), "it would change what is measured"
    if name == "crop_scale":
        return _crops(facts, value, why)
    return value, why


def _crops(facts: Facts, scale: tuple[float, float], why: str) -> Wish:
    """How much of an image a random crop takes at least, where a target is more than one class."""
    least, most = scale
    if facts.task == "regress":
        return (1.0, 1.0), "no crops: what is cut off would be counted, or measured against another whole"
    if facts.dense and least < 0.5:
        return (0.5, most), "each part has its own truth"
    if facts.task == "multilabel" and least < 0.7:
        return (0.7, most), "gentle crops: what a label names may lie anywhere"
    return scale, why


def choose_smoothing(chooser: Chooser, value: float, why: str) -> None:
    """Label smoothing, where an image has one class."""
    one = chooser.facts.task == "classify"
    chooser.pick("task.label_smoothing", value if one else 0.0, why if one else "for one class per image only")


def choose_drop_path(chooser: Chooser, rate: float, why: str) -> None:
    """Stochastic depth, where the model has any."""
    if chooser.variant.stochastic_depth:
        chooser.pick("train.drop_path", rate, why)
    else:
        chooser.pick("train.drop_path", 0.0, f"{chooser.variant.name} has no stochastic depth")


def refuse_unsuitable(stated: Stated, facts: Facts) -> None:
    """UsageError for what is stated and could only be passed over in silence for this task."""
    pixels = "a task with a value per pixel"
    checks = (
        (("augment.mixup", "augment.cutmix"), facts.mixes, f"{facts.task} has no loss for mixed images"),
        (("task.label_smoothing",), facts.smooths, f"{facts.task} has no labels to smooth"),
        (
            ("augment.randaugment_ops", "augment.three", "augment.erase"),
            not facts.dense,
            f"{pixels} varies colours by augment.jitter",
        ),
    )
    for paths, allowed, why in checks:
        for path in paths:
            if stated.get(path) and not allowed:
                raise UsageError(f"{path}={stated[path]:g}: {why}")
