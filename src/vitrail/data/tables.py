"""CSV, Parquet and JSON lines as columns, with an error that names the row for all that is not a table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import DataError, nearest

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Table:
    """Columns by name, all of one length. A missing cell is None.

    rows: the number of each row as its file counts them: in CSV the header is row 1, else the first row is row 1.
    """

    path: Path
    columns: dict[str, list[Any]]
    rows: Sequence[int]

    def column(self, name: str) -> list[Any]:
        """The cells of a column, all present; raises DataError for an unknown column or the first empty cell."""
        if name not in self.columns:
            close = nearest(name, self.columns)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(self.columns)}"
            raise DataError(f"{self.path} has no column '{name}': {hint}")
        cells = self.columns[name]
        for row, cell in zip(self.rows, cells, strict=True):
            if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
                raise DataError(f"{self.path}, row {row}: column '{name}' is empty")
        return cells

    def find(self, *names: str) -> list[str]:
        """The columns that are called one of `names`, in any case, in the order of `names`."""
        by_name = {column.strip().casefold(): column for column in reversed(list(self.columns))}
        return [by_name[name] for name in names if name in by_name]


def read_table(path: Path) -> Table:
    """Read a .csv, .tsv, .parquet or .jsonl file whole.

    CSV: UTF-8 with a header; cells are text; the delimiter is the one of comma, semicolon and tab that the header has
    most of. Raises DataError naming the row where it is ragged or not what its name says, and where it has no rows.
    """
    try:
        read = {".parquet": _parquet, ".jsonl": _json_lines}.get(path.suffix.lower(), _delimited)
        table = read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    if not table.rows:
        raise DataError(f"{path} has no rows")
    return table


def _delimited(path: Path) -> Table:
    text = path.read_text(encoding="utf-8-sig")
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count) if any(d in first for d in ",;\t") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    kept: list[list[str]] = []
    numbers = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not cells:
                continue
            if not header:
                header = cells
                _check_header(path, header)
            elif len(cells) != len(header):
                raise DataError(f"{path}, row {number}: {len(cells)} cells, but the header has {len(header)}")
            else:
                kept.append(cells)
                numbers.append(number)
    except csv.Error as error:
        raise DataError(f"{path}, row {number + 1}: {error}") from None
    if not header:
        raise DataError(f"{path} is empty")
    return Table(path, {name: [cells[i] for cells in kept] for i, name in enumerate(header)}, numbers)


def _check_header(path: Path, header: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise DataError(f"{path}, row 1: two columns are called '{name}'")
        seen.add(name)


def _json_lines(path: Path) -> Table:
    columns: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, row {number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"{path}, row {number}: a JSON object is expected, one per line")
        for name in record:
            columns.setdefault(name, [None] * len(numbers))
        for name, cells in columns.items():
            cells.append(record.get(name))
        numbers.append(number)
    return Table(path, columns, numbers)


def _parquet(path: Path) -> Table:
    import pyarrow  # here, because importing it costs more than reading most tables
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, memory_map=False)
        columns = {name: table.column(i).to_pylist() for i, name in enumerate(table.column_names)}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None
    _check_header(path, table.column_names)
    return Table(path, columns, range(1, table.num_rows + 1))
