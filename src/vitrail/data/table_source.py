"""A table with a row per image: where it is, what it is, and if the table says so, its split, its group, its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitrail.contracts import Failure, Hints, MapFile, Pixels
from vitrail.data import image, remote
from vitrail.data.cells import Meaning, read_targets
from vitrail.data.items import SPLIT_WORDS, SPLITS, Items, SplitName
from vitrail.data.references import References, cell_bytes, filled, find_image_column, find_references
from vitrail.data.tables import Table
from vitrail.errors import DataError, UsageError
from vitrail.settings import DataConfig

__all__ = ["TableFiles", "TableSource", "find_image_column", "open_table", "read_splits"]

CLASS_NAMES = ("label", "class", "target", "category", "class_name", "label_name", "species")
LABEL_NAMES = ("labels", "tags", "categories", "classes")
NUMBER_NAMES = ("value", "score", "count", "y")
MASK_NAMES = ("mask", "mask_path", "mask_file", "masks", "segmentation", "annotation")
DEPTH_NAMES = ("depth", "depth_path", "depth_file", "depth_map", "map")
TARGET_NAMES = {
    "classify": CLASS_NAMES,
    "multilabel": (*LABEL_NAMES, *CLASS_NAMES),
    "regress": ("target", *NUMBER_NAMES, *CLASS_NAMES),
    "segment": (*MASK_NAMES, *CLASS_NAMES),
    "depth": (*DEPTH_NAMES, *CLASS_NAMES),
}
"""How the target column of a task is usually called, the likeliest first."""
ALL_NAMES = (*CLASS_NAMES, *LABEL_NAMES, *MASK_NAMES, *DEPTH_NAMES, *NUMBER_NAMES)


class TableSource:
    """The images that a table names or holds; see `open_table`.

    Paths are absolute or relative to the table; a file that is missing stays a sample, for the audit to name as bad.
    `notes` says what was guessed. Images at URLs are read by fsspec, each time anew; those in a Parquet file are kept
    in memory as the file has them.
    """

    hints = Hints()
    ignored: tuple[Failure, ...] = ()

    def __init__(
        self, table: Table, references: References, items: Items, target_names: tuple[str, ...],
        strata: Sequence[str] | None, notes: tuple[str, ...], max_pixels: int,
    ) -> None:  # fmt: skip
        self.name = table.path.stem
        self.location = str(table.path.absolute())
        self.target_names, self.strata, self.notes = target_names, strata, notes
        self.rows = np.asarray(table.rows)
        """The number of each sample's row, as the table counts them."""
        self._folder = table.path.absolute().parent
        self._cells, self._items, self._max_pixels = references.cells, items, max_pixels

    @property
    def items(self) -> Items:
        """All samples, in the order of the rows."""
        return self._items

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index` to (H, W, channels) uint8; raises BadImage."""
        return image.decode(self.content(index), channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The image as it is stored; raises BadImage."""
        if self._cells is not None:
            return cell_bytes(self._cells[index])
        key = self._items[index].key
        return remote.read_bytes(key) if remote.protocol(key) else image.read_bytes(self._folder / key)


class TableFiles(TableSource):
    """A table whose every image is a file."""

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._folder / self._items[index].key


def open_table(table: Table, config: DataConfig, task: str | None = None) -> TableSource:
    """The samples of a table, whose targets are in the form that `task` wants, or, where it is None, as they look.

    config.target: the column to predict, several separated by commas, or a path with columns in braces, such as
    masks/{name}.png, for files; when None, the column with a usual name, or the only one left. images: likewise, where
    the images are. A column `split` with train, val (valid, validation) and test is obeyed; group: a column whose equal
    values stay in one split, by default the one called `group`; weight: a column of numbers that are 0 or more.

    Raises DataError, with the row, for an unknown column, an empty cell, a cell that is not what the task wants, an
    image named twice, a split that is none; UsageError for a target that is the image or the weight.
    """
    column, references = find_references(table, config.images)
    notes = list(references.notes)
    named = _named(table, config.target)
    _refuse_double(named, column, config.weight)
    split = next((name for name in table.find("split") if name not in named), None)
    group = config.group or next((name for name in table.find("group") if name not in named), None)
    if config.target and "{" in config.target and config.target not in table.columns:
        meaning = _pattern(table, config.target, task)
    else:
        taken = {column, split, group, config.weight, config.stratify}
        meaning = read_targets(table, named or [_find_target(table, taken, task, notes)], task)
    notes += meaning.notes
    groups = [str(cell) for cell in table.column(group)] if group else None
    strata = [str(cell) for cell in table.column(config.stratify)] if config.stratify else None
    weights = _weights(table, config.weight) if config.weight else None
    if split:
        notes.append(f"splits are in column '{split}'")
    if group:
        notes.append(f"images of one '{group}' stay together")
    if weights:
        notes.append(f"training counts each image as much as '{config.weight}' says")
    splits = read_splits(table, split) if split else None
    items = Items(references.keys, meaning.targets, splits, groups, weights)
    files = references.cells is None and not references.urls
    kind = TableFiles if files else TableSource
    return kind(table, references, items, meaning.names, strata, tuple(notes), config.max_pixels)


def open_unlabelled(table: Table, config: DataConfig) -> TableSource:
    """The images of a table, whatever else stands in it; a column `split`, and one of groups, are obeyed.

    Raises DataError as `open_table` does of what is no image's place.
    """
    _, references = find_references(table, config.images)
    split = next(iter(table.find("split")), None)
    group = config.group or next(iter(table.find("group")), None)
    groups = [str(cell) for cell in table.column(group)] if group else None
    splits = read_splits(table, split) if split else None
    items = Items(references.keys, [None] * len(references.keys), splits, groups)
    kind = TableFiles if references.cells is None and not references.urls else TableSource
    return kind(table, references, items, (), None, tuple(references.notes), config.max_pixels)


def read_splits(table: Table, column: str) -> list[SplitName]:
    """The split of every row; raises DataError with the row of the first that is none."""
    splits = []
    for place, cell in enumerate(table.column(column)):
        name = SPLIT_WORDS.get(str(cell).strip().casefold())
        if name is None:
            raise table.fault(place, f"'{column}' is '{cell}', which is none of {', '.join(SPLITS)}")
        splits.append(name)
    return splits


def _named(table: Table, target: str | None) -> list[str]:
    """The columns that --target names; a header may itself have commas."""
    if target is None or target in table.columns:
        return [] if target is None else [target]
    if "{" in target:
        return []
    names = [name.strip() for name in target.split(",") if name.strip()]
    for name in names:
        table.cells(name)
        if names.count(name) > 1:
            raise DataError(f"--target names '{name}' twice")
    return names


def _refuse_double(named: Sequence[str], image_column: str | None, weight: str | None) -> None:
    """UsageError for a target that is something else already."""
    if image_column in named:
        raise UsageError(
            f"--target {image_column}: that column says where the images are; name another, or say where they are with"
            " data.images"
        )
    if weight in named:
        raise UsageError(
            f"--target {weight} and data.weight={weight} are the same column: what is learned is no weight"
        )


def _find_target(table: Table, taken: set[str | None], task: str | None, notes: list[str]) -> str:
    free = [name for name in table.columns if name not in taken]
    named = [name for name in table.find(*TARGET_NAMES.get(task or "", ALL_NAMES)) if name in free]
    if not named and len(free) != 1:
        raise DataError(
            f"{table.path}: which column is the target? Say it with --target: {', '.join(free) or 'there is none left'}"
        )
    target, why = (named[0], "by its name") if named else (free[0], "the only one left")
    notes.append(f"the target is column '{target}' ({why}; --target chooses another)")
    return target


def _pattern(table: Table, pattern: str, task: str | None) -> Meaning:
    if task not in (None, "segment", "depth"):
        raise DataError(f"--target {pattern} names files, which are for the tasks segment and depth, not {task}")
    folder = table.path.absolute().parent
    return Meaning([MapFile(folder / path) for path in filled(table, pattern)], task or "")


def _weights(table: Table, column: str) -> Sequence[float]:
    weights: list[float] = []
    for place, cell in enumerate(table.column(column)):
        try:
            weight = float(cell)
        except (TypeError, ValueError, OverflowError):
            weight = math.nan
        if not (math.isfinite(weight) and weight >= 0):
            raise table.fault(place, f"weight '{column}' is {cell!r}: a number that is 0 or more is expected")
        weights.append(weight)
    if not any(weights):
        raise DataError(f"{table.path}: every weight in column '{column}' is 0: nothing would be learned")
    return weights
