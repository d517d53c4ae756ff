"""A table with a row per image: where it lies, what it is, and if the table says so, its split and its group."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

from vitrail.contracts import Failure, Hints, Pixels
from vitrail.data import image
from vitrail.data.items import SPLIT_WORDS, SPLITS, Items, SplitName, is_text
from vitrail.data.tables import Table, read_table
from vitrail.errors import DataError

IMAGE_COLUMNS = (
    "image", "path", "image_path", "file", "filename", "file_name", "filepath", "file_path", "img", "img_path",
    "image_file", "name",
)  # fmt: skip
TARGET_COLUMNS = ("label", "class", "target", "category", "class_name", "label_name", "species")


class TableSource:
    """The images that a CSV, Parquet or JSONL table names.

    target: the column to predict; when None, the one with a usual name, or the only one left. Paths are absolute or
    relative to the table; a file that is missing stays a sample, for the audit to name as bad. A column `split` with
    train, val (valid, validation) and test is obeyed; group: a column whose equal values stay in one split, by
    default the one called `group`. `notes` says what was guessed.

    Raises DataError, with the row, for an unknown column, an empty cell, an image named twice, a split that is none.
    """

    hints = Hints()
    ignored: tuple[Failure, ...] = ()

    def __init__(
        self, path: Path, target: str | None = None, group: str | None = None, max_pixels: int = image.MAX_PIXELS
    ) -> None:
        self.name = path.stem
        self.location = str(path.absolute())
        self._folder = path.absolute().parent
        self._max_pixels = max_pixels
        table = read_table(path)
        notes: list[str] = []
        images = find_image_column(table, notes)
        split = next(iter(table.find("split")), None)
        if split == target:
            split = None
        group = group or next((name for name in table.find("group") if name != target), None)
        if target is None:
            target = _find_target(table, {images, split, group}, notes)
        keys = _keys(table, images, self._folder)
        groups = [str(cell) for cell in table.column(group)] if group else None
        if split:
            notes.append(f"splits are in column '{split}'")
        if group:
            notes.append(f"images of one '{group}' stay together")
        self._items = Items(keys, table.column(target), read_splits(table, split) if split else None, groups)
        self.notes = tuple(notes)

    @property
    def items(self) -> Items:
        """All samples, in the order of the rows."""
        return self._items

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._folder / self._items[index].key

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index` to (H, W, channels) uint8; raises BadImage."""
        return image.read(self.path(index), channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The file's bytes; raises BadImage."""
        return image.read_bytes(self.path(index))


def find_image_column(table: Table, notes: list[str]) -> str:
    """The column of image paths, by its usual name or else by what stands in it; says which in `notes`."""
    looking = [name for name, cells in table.columns.items() if _looks_like_images(cells)]
    named = table.find(*IMAGE_COLUMNS)
    best = [name for name in named if name in looking] or looking or named
    if not best:
        raise DataError(
            f"{table.path} has no column of image paths: it has {', '.join(table.columns)}; call it 'image' or 'path'"
        )
    why = "by its name" if best[0] in named else "by the file names in it"
    notes.append(f"image paths are in column '{best[0]}' ({why})")
    return best[0]


def read_splits(table: Table, column: str) -> list[SplitName]:
    """The split of every row; raises DataError with the row of the first that is none."""
    splits = []
    for row, cell in zip(table.rows, table.column(column), strict=True):
        name = SPLIT_WORDS.get(str(cell).strip().casefold())
        if name is None:
            raise DataError(f"{table.path}, row {row}: '{column}' is '{cell}', which is none of {', '.join(SPLITS)}")
        splits.append(name)
    return splits


def _looks_like_images(cells: list[Any]) -> bool:
    sample = [cell for cell in cells[:200] if cell]
    files = [c for c in sample if isinstance(c, str) and PurePosixPath(c).suffix.lower() in image.IMAGE_EXTENSIONS]
    return bool(sample) and len(files) > 0.5 * len(sample)


def _find_target(table: Table, taken: set[str | None], notes: list[str]) -> str:
    free = [name for name in table.columns if name not in taken]
    named = [name for name in table.find(*TARGET_COLUMNS) if name in free]
    if not named and len(free) != 1:
        raise DataError(
            f"{table.path}: which column is the target? Say it with --target: {', '.join(free) or 'there is none left'}"
        )
    target, why = (named[0], "by its name") if named else (free[0], "the only one left")
    notes.append(f"the target is column '{target}' ({why}; --target chooses another)")
    return target


def _keys(table: Table, column: str, folder: Path) -> list[str]:
    """Each row's path, relative to the table's folder where it lies below it."""
    rows: dict[str, int] = {}
    for row, cell in zip(table.rows, table.column(column), strict=True):
        if not isinstance(cell, str) or not is_text(cell):
            raise DataError(f"{table.path}, row {row}: column '{column}' holds no path but {str(cell)[:40]!r}")
        written = os.path.normpath(cell.strip())
        absolute = os.path.normpath(folder / written)
        below = os.path.commonpath([absolute, folder]) == str(folder)
        key = Path(os.path.relpath(absolute, folder) if below else written).as_posix()
        if key in rows:
            raise DataError(
                f"{table.path}, row {row}: names the image of row {rows[key]} again ({key}): give one row per image"
            )
        rows[key] = row
    return list(rows)
