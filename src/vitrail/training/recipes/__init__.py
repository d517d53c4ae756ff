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

__all__ = [
    "SMALL", "Choice", "Facts", "Pretrained", "Reason", "choose", "complete", "has_size", "list_recipes",
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


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """Fill every field that `stated` leaves open; what is stated is never touched.

    variant: the model's row. Raises UsageError on an unknown recipe or a value that a field or the task refuses.
    """
    name = str(stated.get("recipe", AUTO))
    if name not in list_recipes():
        raise unknown("recipe", name, list_recipes())
    refuse_unsuitable(Chooser(facts, variant, stated).stated, facts)
    why = "as stated"
    if name == AUTO:
        name, why = _by_rule(facts)
    choice: Choice = _recipes()[name].choose(facts, variant, {**stated, "recipe": name})
    return replace(choice, reasons=(Reason("recipe", name, why), *choice.reasons))


def _by_rule(facts: Facts) -> tuple[str, str]:
    """The recipe for these images, and why."""
    return "small", f"from scratch, {facts.images} images"
