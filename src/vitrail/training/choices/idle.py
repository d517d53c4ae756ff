"""Settings that change nothing beside others: refused where they are stated, let go where a recipe picks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vitrail.errors import UsageError
from vitrail.settings import Config, Stated, build
from vitrail.training.choices.chooser import complete, value_of
from vitrail.training.choices.facts import Choice

DEFAULTS = build({"data.source": "any"})


@dataclass(frozen=True)
class Idle:
    """Fields that do something only where `used`; why: what is said where they do not."""

    paths: tuple[str, ...]
    used: Callable[[Config], bool]
    why: str


LEARNING = (
    Idle(("train.lora_alpha",), lambda c: c.train.lora_rank > 0, "LoRA is off: set train.lora_rank as well"),
    Idle(("train.beta2",), lambda c: c.train.optimizer != "sgd", "sgd has one momentum, train.beta1"),
    Idle(
        ("train.layer_decay", "train.recompute"),
        lambda c: c.train.freeze == "none",
        "train.freeze=backbone: the head alone learns",
    ),
)
"""What follows from the recipe and from what is stated alone."""
IMAGES = (
    Idle(
        ("augment.randaugment_magnitude", "augment.randaugment_spread"),
        lambda c: c.augment.randaugment_ops > 0,
        "RandAugment is off: set augment.randaugment_ops as well",
    ),
    Idle(
        ("augment.mix_probability", "augment.mix_off_epochs"),
        lambda c: bool(c.augment.mixup or c.augment.cutmix),
        "images are not mixed: set augment.mixup or augment.cutmix as well",
    ),
    Idle(
        ("augment.crop_ratio",),
        lambda c: c.augment.crop_scale != (1, 1),
        "there are no random crops: set augment.crop_scale as well",
    ),
    Idle(
        ("preprocess.crop_fraction",),
        lambda c: c.preprocess.resize == "crop",
        "images are not cropped: set preprocess.resize=crop as well",
    ),
)
"""What the images have a say in."""


def refuse_idle(stated: Stated, config: Config, rules: Sequence[Idle] = (*LEARNING, *IMAGES)) -> None:
    """UsageError for a stated field that is not as it would be anyway and does nothing in the complete config."""
    for path, why in _idle(config, rules):
        if path in stated:
            raise UsageError(f"{path}: it would do nothing: {why}")


def without_idle(choice: Choice, stated: Stated) -> Choice:
    """The choice without values that a recipe picked and that do nothing: none is shown that seems to do something."""
    dropped = [path for path, _ in _idle(choice.config, (*LEARNING, *IMAGES)) if path not in stated]
    if not dropped:
        return choice
    config = build({path: value for path, value in complete(choice.config).items() if path not in dropped})
    return replace(choice, config=config, reasons=tuple(r for r in choice.reasons if r.field not in dropped))


def _idle(config: Config, rules: Sequence[Idle]) -> list[tuple[str, str]]:
    """The fields that are not as they would be anyway and do nothing, and why."""
    return [
        (path, rule.why)
        for rule in rules
        for path in rule.paths
        if not rule.used(config) and value_of(config, path) != value_of(DEFAULTS, path)
    ]
