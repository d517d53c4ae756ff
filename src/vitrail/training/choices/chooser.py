"""What is stated stands; everything else is picked, with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.contracts import Variant
from vitrail.settings import Config, Stated, build, fields
from vitrail.training.choices.facts import Choice, Facts, Reason


class Chooser:
    """The fields of one run while they are being chosen.

    variant: the model's row. Raises UsageError for a stated value that its field refuses.
    """

    def __init__(self, facts: Facts, variant: Variant, stated: Stated) -> None:
        checked = build(stated)  # types are read once here, so that what follows computes with numbers
        self.facts, self.variant = facts, variant
        self.stated: Stated = {path: value_of(checked, path) for path in stated}
        self._reasons: list[Reason] = []
        self._told: set[str] = set()

    def pick(self, path: str, value: Any, why: str) -> Any:
        """The stated value if there is one, else the first `value` picked, recorded once with its reason."""
        if path in self._told:
            return self.stated[path]
        self._told.add(path)
        if path in self.stated:
            self._reasons.append(Reason(path, self.stated[path], "as stated"))
        else:
            self.stated[path] = value
            self._reasons.append(Reason(path, value, why))
        return self.stated[path]

    def of(self, path: str) -> Any:
        """What was stated or picked for a field; KeyError where nothing was yet."""
        return self.stated[path]

    def choice(self) -> Choice:
        """The whole config; raises UsageError where fields do not fit each other."""
        return Choice(build(self.stated), tuple(self._reasons))


def complete(config: Config) -> Stated:
    """Every field of a complete config as stated values: what a repeated or resumed run is built from."""
    stated = {path: value_of(config, path) for path, _ in fields() if path != "model.options"}
    return stated | {f"model.options.{name}": value for name, value in config.model.options.items()}


def value_of(config: Config, path: str) -> Any:
    """What a complete config has at a dotted path."""
    node: Any = config
    for part in path.split("."):
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    return node
