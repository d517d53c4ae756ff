"""Images with annotated objects, whatever the file they are annotated in: which classes, how many, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import DrawnMap, Failure, Hints, MapFile, Pixels
from vitrail.data import image
from vitrail.data.items import Items, SplitName
from vitrail.data.outlines import Drawing, Mask, Outline, inside
from vitrail.data.wording import counted
from vitrail.errors import DataError, UsageError, unknown

GROUND = "background"
MOST_CLASSES = 254
"""A mask keeps 0 for the ground and 255 for what is not known."""


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotated:
    """One image. key: unique.  path: of its file.  split: where the data dictates it.

    classes: of its objects, one for each.  counted: whether each is one object (a crowd is not).  outlines: of each,
    as (class, polygons, runs), or () where only boxes are known.  boxes: of each, (left, top, right, bottom) in pixels,
    None where it has none.  mask: a file that has a class per pixel, or None.
    """

    key: str
    path: Path
    split: SplitName | None
    size: tuple[int, int]
    classes: tuple[str, ...]
    counted: tuple[bool, ...] = ()
    outlines: tuple[tuple[str, tuple[tuple[float, ...], ...], tuple[int, ...]], ...] = ()
    mask: Path | None = None
    boxes: tuple[Box | None, ...] = ()


class AnnotatedSource:
    """Annotated images as samples of one task.

    multilabel (the first choice): the names of the classes that an image shows.  regress: how many objects of each
    class.  segment: the class of each pixel, 0 the ground.  target: the classes to learn, separated by commas; all when
    None. No image is left out for showing none of them.

    Raises UsageError for a class that nothing is annotated with, or a task that the annotations cannot serve.
    """

    hints = Hints()

    def __init__(
        self, images: Sequence[Annotated], name: str, location: Path, classes: Sequence[str], target: str | None,
        task: str | None, max_pixels: int, ignored: Sequence[Failure] = (), notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        if not images:
            raise DataError(f"{location} annotates no image that can be found")
        self.name, self.location = name, str(location)
        self.ignored = tuple(ignored)
        self._images = tuple(images)
        self._paths = [each.path for each in images]
        self._max_pixels = max_pixels
        chosen = _chosen(classes, target)
        make = {"multilabel": _labels, "regress": _counts, "segment": _masks}.get(task or "multilabel")
        if make is None:
            raise UsageError(
                f"{location} has annotated objects: for multilabel, regress (counts) or segment, not {task}"
            )
        targets, self.target_names, said = make(images, chosen, location, max_pixels)
        if task is None:
            said = f"{said}; --task regress counts them{', --task segment outlines them' if _drawn(images) else ''}"
        self.notes = (*notes, said)
        self._items = Items([each.key for each in images], targets, _splits(images))

    @property
    def items(self) -> Items:
        """All samples, in the order of the annotations."""
        return self._items

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._paths[index]

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index` to (H, W, channels) uint8; raises BadImage."""
        return image.read(self._paths[index], channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The file's bytes; raises BadImage."""
        return image.read_bytes(self._paths[index])

    def located(self, index: int, name: str, size: tuple[int, int]) -> Mask | None:
        """The objects of class `name`, (h, w): their outlines, and the boxes of those that have none; None without any.

        Raises BadImage where an outline does not fit the image.
        """
        own = self._images[index]
        found = np.zeros(size, bool)
        drawn = own.outlines or tuple((each, (), ()) for each in own.classes)
        boxes = own.boxes or (None,) * len(drawn)
        for (called, polygons, runs), box in zip(drawn, boxes, strict=True):
            if called != name:
                continue
            if polygons or runs:
                found |= inside(Outline(1, polygons, runs), size)
            elif box is not None:
                left, top, right, bottom = (max(0, round(side)) for side in box)
                found[top:bottom, left:right] = True
        return found if found.any() else None


Made = tuple[list[Any], tuple[str, ...], str]
"""Targets, their names, and what is to be said of them."""


def _chosen(classes: Sequence[str], target: str | None) -> list[str]:
    if target is None or target in classes:
        return list(classes) if target is None else [target]
    names = [name.strip() for name in target.split(",") if name.strip()]
    for name in names:
        if name not in classes:
            raise unknown("class", name, classes)
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--target {target!r}: name each class once")
    return names


def _labels(images: Sequence[Annotated], chosen: Sequence[str], where: Path, max_pixels: int) -> Made:
    targets = [[name for name in chosen if name in each.classes] for each in images]
    none = sum(not labels for labels in targets)
    without = f"; {counted(none, 'image shows', 'images show')} none of them" if none else ""
    return targets, (), f"the target is which of {_listed(chosen)} an image shows{without}"


def _counts(images: Sequence[Annotated], chosen: Sequence[str], where: Path, max_pixels: int) -> Made:
    targets: list[Any] = []
    crowds = 0
    for each in images:
        single = each.counted or (True,) * len(each.classes)
        counts = Counter(name for name, one in zip(each.classes, single, strict=True) if one)
        crowds += len(single) - sum(single)
        row = [float(counts[name]) for name in chosen]
        targets.append(row if len(row) > 1 else row[0])
    without = f"; {counted(crowds, 'crowd is', 'crowds are')} not counted" if crowds else ""
    return targets, tuple(chosen), f"the target is how many objects of {_listed(chosen)} an image shows{without}"


def _masks(images: Sequence[Annotated], chosen: Sequence[str], where: Path, max_pixels: int) -> Made:
    files = [each.mask for each in images]
    if any(files):
        absent = next((each.key for each in images if each.mask is None), None)
        if absent is not None:
            raise DataError(f"{where}: {absent} has no mask, others do")
        return [MapFile(path) for path in files if path], (), "the target is the class of each pixel, from mask files"
    if not _drawn(images):
        raise DataError(f"{where} has boxes but no outlines or masks: nothing to learn a class per pixel from")
    if len(chosen) > MOST_CLASSES:
        raise DataError(f"{where}: a mask can hold {MOST_CLASSES} classes, not {len(chosen)}: name some with --target")
    value = {name: place for place, name in enumerate(chosen, start=1)}
    targets: list[Any] = []
    boxes = 0
    for each in images:
        shown = [(name, polygons, runs) for name, polygons, runs in each.outlines if name in value]
        boxes += sum(not (polygons or runs) for _, polygons, runs in shown)
        outlines = tuple(Outline(value[name], polygons, runs) for name, polygons, runs in shown)
        targets.append(DrawnMap(Drawing(each.size, outlines, max_pixels)))
    without = (
        f"; {counted(boxes, 'object has no outline and is', 'objects have no outline and are')} ground" if boxes else ""
    )
    return targets, (GROUND, *chosen), f"the target is the class of each pixel: {_listed(chosen)}{without}"


def _drawn(images: Sequence[Annotated]) -> bool:
    return any(polygons or runs for each in images for _, polygons, runs in each.outlines)


def _splits(images: Sequence[Annotated]) -> list[SplitName | None] | None:
    splits = [each.split for each in images]
    return splits if any(splits) else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
