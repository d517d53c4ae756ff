"""What is stated and would do nothing is refused; what a recipe picks and does nothing is not picked."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail.errors import UsageError
from vitrail.models import variant
from vitrail.settings import Stated, build
from vitrail.training.choices.chooser import value_of
from vitrail.training.choices.idle import IMAGES, LEARNING, refuse_idle
from vitrail.training.recipes import Facts, choose, complete

PHOTOS = Facts(1200, 24, 240, True, cores=2)
CASES: dict[str, tuple[Any, Stated, Stated]] = {
    "train.lora_alpha": (4.0, {}, {"train.lora_rank": 2}),
    "train.beta2": (0.95, {"train.optimizer": "sgd"}, {"train.optimizer": "lamb"}),
    "train.layer_decay": (0.7, {"train.freeze": "backbone"}, {}),
    "train.recompute": (True, {"train.freeze": "backbone"}, {}),
    "augment.randaugment_magnitude": (5, {}, {"augment.randaugment_ops": 1}),
    "augment.randaugment_spread": (1.0, {}, {"augment.randaugment_ops": 1}),
    "augment.mix_probability": (0.5, {}, {"augment.mixup": 0.2}),
    "augment.mix_off_epochs": (5, {}, {"augment.cutmix": 1.0}),
    "augment.crop_ratio": ((1.0, 1.0), {"augment.crop_scale": (1, 1)}, {}),
    "preprocess.crop_fraction": (0.9, {"preprocess.resize": "squash"}, {}),
}
"""Field -> a value, beside what it does nothing, beside what it does something."""


def _stated(path: str, beside: Stated, value: Any) -> Stated:
    return {"data.source": "x", path: value, **beside}


def test_every_rule_has_its_case() -> None:
    assert {path for rule in (*LEARNING, *IMAGES) for path in rule.paths} == CASES.keys()


@pytest.mark.parametrize("path", CASES)
def test_what_would_do_nothing_is_refused_where_it_is_stated(path: str) -> None:
    value, idle, busy = CASES[path]
    stated = _stated(path, idle, value)
    with pytest.raises(UsageError, match=f"^{path}: it would do nothing: .+"):
        refuse_idle(stated, build(stated))
    refuse_idle(_stated(path, busy, value), build(_stated(path, busy, value)))


@pytest.mark.parametrize("path", CASES)
def test_what_is_stated_as_it_is_anyway_is_no_mistake(path: str) -> None:
    """As in every args.yaml, which states every field."""
    _, idle, _ = CASES[path]
    stated = _stated(path, idle, value_of(build({"data.source": "x"}), path))
    refuse_idle(stated, build(stated))


@pytest.mark.parametrize("recipe", ["deit", "swin", "pvt", "plain_vit", "small"])
@pytest.mark.parametrize("task", ["classify", "regress"])
def test_a_recipe_repeats_itself_from_its_own_complete_config(recipe: str, task: str) -> None:
    """Of a task that is not augmented so, no magnitude is left over that a repeated run would stumble on."""
    facts = Facts(1200, 24, 240, True, task=task, mixes=task == "classify", smooths=task == "classify")
    row = variant("vit_tiny")
    choice = choose(facts, row, {"data.source": "x", "task.name": task, "recipe": recipe})
    refuse_idle(complete(choice.config), choice.config)
    assert choose(facts, row, complete(choice.config)).config == choice.config
    magnitude = [reason for reason in choice.reasons if reason.field == "augment.randaugment_magnitude"]
    assert bool(magnitude) == (choice.config.augment.randaugment_ops > 0 and recipe != "small")
