"""Which task targets ask for, where nobody said it, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import DrawnMap, MapFile, Source
from vitrail.data.maps import read_map
from vitrail.data.pairs import MAP_FOLDERS
from vitrail.data.wording import enumerated
from vitrail.errors import BadImage, DataError, UsageError
from vitrail.settings import TaskConfig

READ = 12
"""Masks that are looked at, evenly spaced: one tells most, a few tell a mask from a map."""
MOST_CLASSES = 256
FEW_OBJECTS = 20
"""Masks whose largest value is no more may as well have so many classes."""
GAPS = 0.1
"""Numbers of objects have few gaps from 0 to the largest; depths in millimetres have many, or begin far from 0."""


@dataclass(frozen=True)
class Inference:
    """A task, why, and settings that go with it: dotted path -> (value, why)."""

    task: str
    why: str
    also: Mapping[str, tuple[Any, str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The task and each setting with its reason, for people."""
        return [
            f"task {self.task}: {self.why}",
            *(f"{path}={value}: {why}" for path, (value, why) in self.also.items()),
        ]


ONLY_FOR = {
    "class_weights": ("classify", "multilabel", "segment"),
    "labels": ("segment", "depth"),
    "decoder": ("segment", "depth"),
    "foreground": ("segment",),
    "ignore": ("segment",),
    "scale": ("depth",),
    "missing": ("depth",),
}
"""Fields of the task -> the tasks that have a use for them."""


def refuse_unused(task: TaskConfig) -> None:
    """UsageError for a field of the task that is stated and has no use in it."""
    defaults = TaskConfig()
    for name, tasks in ONLY_FOR.items():
        if task.name not in tasks and getattr(task, name) != getattr(defaults, name):
            raise UsageError(f"task.{name} is for {enumerated(tasks)}: {task.name} has no use for it")


def infer_task(source: Source, task: str | None = None) -> Inference:
    """The task of a source's targets, or what goes with the `task` that was stated.

    Class names -> classify; lists of names -> multilabel; numbers -> regress; a whole number per pixel -> segment, with
    the foreground alone where they number objects; other numbers per pixel -> depth. Raises DataError for a target that
    is of no kind, or of another than the first.
    """
    kind, why = _kind(source) if task is None else (task, "as stated")
    if kind not in ("dense", "segment"):
        return Inference(kind, why)
    seen = _look(source) if task is None or task == "segment" else None
    if seen is None:  # nothing can be read: the audit will name each
        return Inference("segment" if task is None else task, why)
    folder = _word(source)
    if task is None and (not seen.whole or folder in MAP_FOLDERS):
        says = f"targets are in {folder}/" if folder in MAP_FOLDERS else "targets have fractions at every pixel"
        return Inference("depth", says)
    objects = seen.numbered or (seen.whole and folder == "instances" and seen.most > 1)
    if objects:
        reason = f"masks number single objects (up to {seen.most:,} in one image): all above 0 is one class"
        why = "targets have a whole number at every pixel" if task is None else why
        return Inference("segment", why, {"task.foreground": (True, reason)})
    if task is None and seen.values > MOST_CLASSES:
        return Inference("depth", f"targets have whole numbers of {seen.values:,} kinds: too many to be classes")
    return Inference("segment", "targets have a whole number at every pixel" if task is None else why)


def _kind(source: Source) -> tuple[str, str]:
    kinds: dict[str, str] = {}
    for item in source.items:
        kind = _of(item.target, item.key)
        if kind and kind not in kinds:
            kinds[kind] = item.key
            if len(kinds) > 1:
                first, second = list(kinds.items())
                raise DataError(
                    f"{source.location}: targets are of two kinds: {first[1]} has {WORDS[first[0]]}, {second[1]} has"
                    f" {WORDS[second[0]]}"
                )
    kind = next(iter(kinds), "classify")
    return kind, f"targets are {WORDS[kind]}"


WORDS = {"classify": "class names", "multilabel": "lists of names", "regress": "numbers", "dense": "masks or maps"}


def _of(target: Any, key: str) -> str:
    """The kind of one target; "" where there is none, as of a sample that cannot be read."""
    if target is None:
        return ""
    if isinstance(target, (MapFile, DrawnMap)) or (isinstance(target, np.ndarray) and target.ndim >= 2):
        return "dense"
    if isinstance(target, (str, bool)):
        return "classify"
    if isinstance(target, (int, float, np.number)):
        return "regress"
    if isinstance(target, (list, tuple, set, frozenset, np.ndarray)):
        numbers = [isinstance(each, (int, float, np.number)) for each in target]
        return "regress" if numbers and all(numbers) else "multilabel"
    raise DataError(f"{key}: its target is {type(target).__name__}, which no task can learn")


@dataclass(frozen=True)
class _Seen:
    """Of the masks that were looked at. whole: integers.  values: different ones in all.  most: the largest.

    numbered: each image's values go from 0 up without gaps, and there are more than classes would have.
    """

    whole: bool
    values: int
    most: int
    numbered: bool


def _look(source: Source) -> _Seen | None:
    count = len(source.items)
    found: set[Any] = set()
    whole, deep, dense, read = True, False, True, 0
    most = 0
    for index in _spread(count, READ):
        try:
            values = read_map(source.items[index].target)
        except BadImage:
            continue
        read += 1
        if values.dtype.kind == "f" and not bool((np.isfinite(values) & (values == np.floor(values))).all()):
            return _Seen(False, 0, 0, False)
        distinct = np.unique(values)
        whole &= values.ndim == 2
        found |= set(distinct.tolist())
        largest = int(distinct[-1])
        most = max(most, largest)
        deep |= values.dtype.itemsize > 1
        dense &= distinct[0] == 0 and len(distinct) >= (1 - GAPS) * (largest + 1)
    if not read:
        return None
    # An 8-bit mask of classes 0..20 has no gaps either: what numbers objects is stored deeper, or says so by its name.
    return _Seen(whole, len(found), most, deep and dense and most > FEW_OBJECTS)


def _spread(count: int, most: int) -> Sequence[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))}) if count else []


def _word(source: Source) -> str:
    """The folder that masks are in, by the source's word or the first mask's path."""
    named = getattr(source, "map_folder", "")
    first: Iterable[Any] = (item.target for item in source.items)
    target = next(iter(first), None)
    return str(named or (Path(target.path).parent.name if isinstance(target, MapFile) else "")).casefold()
