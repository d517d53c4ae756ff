"""One file is one recipe: a function that fills every field of a run that is not stated, with a reason each.

This folder is the catalogue. A recipe's module offers `choose(facts, variant, stated)`, and its docstring opens with
the paper, the command, and what time and result to expect. `auto` is no recipe: it picks one by rule.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from types import ModuleType

from vitrail.contracts import Variant
from vitrail.errors import unknown
from vitrail.settings import Stated
from vitrail.training.choices.augmentation import refuse_unsuitable
from vitrail.training.choices.chooser import Chooser, complete
from vitrail.training.choices.facts import Choice, Facts, Pretrained, Reason
from vitrail.training.choices.geometry import SMALL, has_size
from vitrail.training.choices.idle import LEARNING, refuse_idle, without_idle

__all__ = [
    "LEARNING", "SMALL", "Choice", "Facts", "Pretrained", "Reason", "choose", "complete", "has_size", "list_recipes",
    "refuse_idle", "refuse_unknown", "without_idle",
]  # fmt: skip

AUTO = "auto"


@cache
def _recipes() -> dict[str, ModuleType]:
    """Recipe name -> its module."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def list_recipes() -> list[str]:
    """What `--recipe` takes: auto, and the names of the recipes."""
    return [AUTO, *_recipes()]


def refuse_unknown(name: str) -> None:
    """UsageError for what is no recipe, with the nearest that is."""
    if name not in list_recipes():
        raise unknown("recipe", name, list_recipes())


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """Fill every field that `stated` leaves open; what is stated is never touched.

    variant: the model's row. Raises UsageError on an unknown recipe or a value that a field or the task refuses.
    """
    name = str(stated.get("recipe", AUTO))
    refuse_unknown(name)
    refuse_unsuitable(Chooser(facts, variant, stated).stated, facts)
    why = "as stated"
    if name == AUTO:
        name, why = _by_rule(facts, variant, stated)
    choice: Choice = _recipes()[name].choose(facts, variant, {**stated, "recipe": name})
    return without_idle(replace(choice, reasons=(Reason("recipe", name, why), *choice.reasons)), stated)


MANY, LARGE = 500_000, 160
"""Images, and pixels a side, from which on a recipe for ImageNet suits better than those for small sets."""

SETTLED = 100_000_000
"""Images that a pretraining without targets must have gone over for fine-tuning's gentle rate: 80 epochs of ImageNet.

MAE's settings are for twenty times as many; after a short pretraining they are far too gentle (docs/log.md).
"""


def _by_rule(facts: Facts, variant: Variant, stated: Stated) -> tuple[str, str]:
    """The recipe for these images and this model, and why."""
    if facts.pretrained is not None or stated.get("model.weights"):
        for path, idle, name in (("train.freeze", "none", "linear_probe"), ("train.lora_rank", 0, "lora")):
            if str(stated.get(path, idle)) != str(idle):
                return name, f"{path} is stated"
        begun = facts.pretrained
        if begun is not None and begun.seen is not None and begun.seen < SETTLED:
            saw = f"some {begun.seen:,.0f} images" if begun.seen else "nobody knows how many images"
            return "small", f"its weights saw {saw} without targets: all of it learns on as from scratch"
        return "fine_tune", f"it starts from weights; {facts.images} images"
    seen = stated.get("model.image_size", facts.native_size)
    published = _published(variant)
    if facts.images >= MANY and not 0 < int(seen) < LARGE and facts.task == "classify" and published:
        return published, f"from scratch on {facts.images} images, about as many as ImageNet's 1,281,167"
    return "small", f"from scratch on {facts.images} images of about {seen} px" if seen else "from scratch"


def _published(variant: Variant) -> str | None:
    """The recipe for ImageNet that the model was published with, or the nearest; None where the family has none."""
    config, family = variant.config, variant.family
    if family == "vit":
        return "plain_vit" if config.width <= 384 else "deit3"
    if family == "deit":
        return "deit3" if config.layer_scale else "deit"
    return {"swin": "swin", "swin_v2": "swin", "pvt": "pvt", "pvt_v2": "pvt"}.get(family)
