"""The rows of a table whose targets cannot be trained on, taken as they stand, so that each can be named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitrail.contracts import Failure, Hints, Pixels
from vitrail.data import image
from vitrail.data.items import Items
from vitrail.data.references import find_references
from vitrail.data.table_source import ALL_NAMES
from vitrail.data.tables import Table, read_table
from vitrail.errors import DataError
from vitrail.settings import DataConfig


class LooseTable:
    """Images that a table names with the raw cells of its target column; keeps `contracts.FileSource`.

    Raises DataError where there is no table, no column of image files, or no one column of targets.
    """

    hints = Hints()
    target_names: tuple[str, ...] = ()
    ignored: tuple[Failure, ...] = ()

    def __init__(self, path: Path, config: DataConfig) -> None:
        table = read_table(path)
        column, references = find_references(table, config.images)
        if references.cells is not None or references.urls:
            raise DataError(f"{path}: its images are no files")
        self.name = path.stem
        self.location = str(path.absolute())
        self.rows = table.rows
        """The number of each sample's row, as the table counts them."""
        self._folder = path.absolute().parent
        self._max_pixels = config.max_pixels
        cells = [_plain(cell) for cell in table.cells(_target(table, column, config))]
        group = config.group if config.group in table.columns else None
        groups = [None if cell is None else str(cell) for cell in table.cells(group)] if group else None
        self.items = Items(references.keys, cells, None, groups)

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._folder / self.items[index].key

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index`; raises BadImage."""
        return image.read(self.path(index), channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The file's bytes; raises BadImage."""
        return image.read_bytes(self.path(index))


def _target(table: Table, column: str | None, config: DataConfig) -> str:
    if config.target is not None:
        table.cells(config.target)
        return config.target
    named = [name for name in table.find(*ALL_NAMES) if name not in (column, config.group, config.weight)]
    if not named:
        raise DataError(f"{table.path}: no column of targets")
    return named[0]


def _plain(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell
