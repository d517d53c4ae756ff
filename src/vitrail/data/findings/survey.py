"""All that is known of a source when its findings are looked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from vitrail.contracts import DrawnMap, MapFile, Source
from vitrail.data.audit import Audit, duplicates
from vitrail.data.map_audit import MapAudit
from vitrail.data.near_duplicates import near_groups
from vitrail.data.target_audit import target_faults, without
from vitrail.settings import TaskConfig

Kind = Literal["none", "class", "labels", "numbers", "map"]

Groups = tuple[tuple[int, ...], ...]

SEPARATOR = ";"
"""Between the labels of a list that is written as one text."""


@dataclass(frozen=True, eq=False)
class Survey:
    """A source, its audit, and what follows from them.

    splits: of each sample by source index, "" where it has none.  maps: None where targets are none or were not read.
    near: whether near duplicates are looked for.  problems: why it cannot be trained on.
    strangers: held-out samples whose target says what training does not know: by source index, why.
    task: what the targets are taken for, None where it is not settled.
    """

    source: Source
    audit: Audit
    splits: Sequence[str]
    maps: MapAudit | None = None
    near: bool = True
    problems: tuple[str, ...] = ()
    strangers: Mapping[int, str] = field(default_factory=dict)
    task: TaskConfig | None = None

    @cached_property
    def trained(self) -> Audit:
        """The audit of what can be trained on: samples whose target cannot be used are among the bad."""
        faults = target_faults(self.audit, self.maps) if self.maps is not None else {}
        return without(self.audit, self.source, {**faults, **self.strangers})

    @cached_property
    def bad_masks(self) -> int:
        """Masks and maps that are there and cannot be used."""
        if self.maps is None:
            return 0
        return len({*self.maps.unreadable, *(index for index in self.trained.lost if index in self.maps.facts)})

    @cached_property
    def targets(self) -> list[Any]:
        """Of each sample; arrays are left out, for they may be large."""
        return [
            "" if isinstance(item.target, np.ndarray) and item.target.ndim > 1 else item.target
            for item in self.source.items
        ]

    @cached_property
    def groups(self) -> list[str | None]:
        """Of each sample."""
        return [item.group for item in self.source.items]

    @cached_property
    def usable(self) -> frozenset[int]:
        """Indices of the samples whose image can be used."""
        return frozenset(self.audit.usable)

    @cached_property
    def same(self) -> Groups:
        """Sets of source indices with the same bytes."""
        return duplicates(self.audit)

    @cached_property
    def alike(self) -> Groups:
        """Sets of source indices whose images are near, of images with the same bytes only the first."""
        if not self.near or self.audit.looks is None:
            return ()
        usable, content = self.audit.usable, self.audit.content
        found = near_groups(self.audit.looks, self.audit.sizes, [content[index] for index in usable])
        return tuple(tuple(usable[row] for row in group) for group in found)

    @cached_property
    def kind(self) -> Kind:
        """What the targets are."""
        if self.maps is not None or any(isinstance(target, (MapFile, DrawnMap)) for target in self.targets):
            return "map"
        return kind_of(self.targets)

    @cached_property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels of each sample: one where targets are class names, several where they are lists; else none."""
        if self.kind == "class":
            return [() if _missing(target) else (str(target),) for target in self.targets]
        return [as_labels(target) for target in self.targets] if self.kind == "labels" else [()] * len(self.targets)


def kind_of(targets: Sequence[Any]) -> Kind:
    """What targets are, by what most of them look like; missing ones say nothing.

    Text counts as numbers where nine of ten are and one has a fraction: "0" to "9" are names.
    """
    given = [target for target in targets if not _missing(target)]
    if not given:
        return "none"
    if any(isinstance(target, (list, tuple, set, frozenset, np.ndarray)) for target in given):
        lists = [[target] if isinstance(target, str) or np.ndim(target) == 0 else target for target in given]
        parts = [part for cells in lists for part in cells if not _missing(part)]
        return "numbers" if parts and all(_is_number(part) for part in parts) else "labels"
    texts = [target for target in given if isinstance(target, str)]
    if len(texts) < len(given) / 2:
        return "numbers" if any(_is_number(target) for target in given if not isinstance(target, str)) else "class"
    if any(SEPARATOR in text for text in texts):
        return "labels"
    read = [value for text in texts if (value := as_number(text)) is not None]
    fractions = any(not math.isfinite(value) or value != int(value) for value in read)
    return "numbers" if fractions and len(read) >= 0.9 * len(texts) else "class"


def as_labels(target: Any) -> tuple[str, ...]:
    """A list of labels, or one text with ";" between; nothing where it is missing."""
    if _missing(target):
        return ()
    if isinstance(target, str):
        return tuple(part.strip() for part in target.split(SEPARATOR) if part.strip())
    return (
        tuple(str(label) for label in target) if isinstance(target, (list, tuple, set, frozenset)) else (str(target),)
    )


def as_numbers(target: Any) -> tuple[float | None, ...]:
    """The numbers of a target, None for each that is missing or no number."""
    cells = target if isinstance(target, (list, tuple, np.ndarray)) else [target]
    return tuple(as_number(cell) for cell in cells)


def as_number(cell: Any) -> float | None:
    """A cell as a float, not finite ones included; None where it is missing or none. NaN is missing."""
    if isinstance(cell, bool) or _missing(cell):
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(value) else value


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float, np.integer, np.floating)) and not isinstance(cell, bool)


def _missing(target: Any) -> bool:
    empty = isinstance(target, str) and not target.strip()
    return target is None or empty or (isinstance(target, float) and math.isnan(target))
