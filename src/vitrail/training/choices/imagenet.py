"""What the recipes for ImageNet from scratch share: they are published as tables of the same fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitrail.training.choices.augmentation import choose_augmentation, choose_drop_path, choose_smoothing
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.geometry import choose_geometry
from vitrail.training.choices.length import choose_batch, choose_rate, choose_schedule
from vitrail.training.choices.machine import choose_machine


@dataclass(frozen=True)
class Published:
    """A column of such a table. rate: at `batch`; scaled with another.  clip: largest gradient norm, 0 for none.

    augment: fields of that section.  options: fields of the family's config, taken where it has all of them.
    """

    source: str
    image_size: int
    epochs: int
    batch: int
    rate: float
    min_lr: float
    warmup: float
    weight_decay: float
    clip: float
    drop_path: float
    smoothing: float
    augment: Mapping[str, Any]
    crop_fraction: float
    optimizer: str = "adamw"
    binary: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


RANDAUGMENT = {"randaugment_ops": 2, "randaugment_magnitude": 27, "randaugment_spread": 1.5}
"""timm's rand-m9-mstd0.5-inc1, whose magnitudes are tenths, in torchvision's thirtieths."""
NO_JITTER = "timm leaves out the jitter of the published command beside RandAugment"


def choose_published(chooser: Chooser, of: Published) -> None:
    """Every field of the run as published, as far as task, images and machine allow."""
    facts, source = chooser.facts, of.source
    if facts.pretrained is None and of.options.keys() <= set(type(chooser.variant.config).model_fields):
        _choose_options(chooser, of)
    at = (of.image_size, f"{source} trains at this size")
    choose_geometry(chooser, at, (of.crop_fraction, source))
    choose_batch(chooser, of.batch, source)
    choose_rate(chooser, of.rate, of.batch, source)
    choose_schedule(chooser, of.epochs, of.warmup, of.min_lr, source)
    chooser.pick("train.optimizer", of.optimizer, source)
    chooser.pick("train.weight_decay", of.weight_decay, source)
    chooser.pick("train.clip", of.clip, source if of.clip else f"{source} clips no gradients")
    chooser.pick("train.ema", 0.0, f"the figures of {source} are without a moving average")
    wishes = {name: (value, source) for name, value in of.augment.items()}
    if facts.dense:
        wishes["jitter"] = (0.3, "colours may vary, places not")
    elif "jitter" not in wishes:
        wishes["jitter"] = (0.0, NO_JITTER if "randaugment_ops" in wishes else source)
    choose_augmentation(chooser, wishes)
    choose_drop_path(chooser, of.drop_path, source)
    choose_smoothing(chooser, of.smoothing, source)
    if of.binary and facts.task == "classify":
        chooser.pick("task.loss", "bce", f"{source}: each class by itself")
    choose_machine(chooser)


def _choose_options(chooser: Chooser, of: Published) -> None:
    """How the published model departs from the row, as far as what pools its tokens allows."""
    wanted = chooser.stated.get("model.pooling")
    for name, value in of.options.items():
        if name == "pooling":
            if chooser.facts.pooling is None:
                chooser.pick("model.pooling", value, of.source)
        elif name != "cls" or wanted != "cls":
            chooser.pick(f"model.options.{name}", value, of.source)


def total_depth(chooser: Chooser) -> int:
    """Blocks of the model, over all stages."""
    config = chooser.variant.config
    depths = chooser.stated.get("model.options.depths", getattr(config, "depths", None))
    if depths is not None:
        return sum(depths)
    return int(chooser.stated.get("model.options.depth", getattr(config, "depth", 12)))


def widest(chooser: Chooser) -> int:
    """Width of the model's tokens, of a hierarchy's first stage; 0 where its config says none."""
    return int(chooser.stated.get("model.options.width", getattr(chooser.variant.config, "width", 0)))
