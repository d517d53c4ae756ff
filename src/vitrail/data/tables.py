"""CSV, Parquet and JSON lines as columns, with an error that names the row for all that is not a table."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

from vitrail.errors import DataError, nearest

TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet", ".jsonl")

Cells = Sequence[Any]


@dataclass(frozen=True)
class Table:
    """Columns by name, all of one length. A missing cell is None.

    rows: the number of each row as its file counts them: in CSV the header is row 1, else the first row is row 1.
    """

    path: Path
    columns: Mapping[str, Cells]
    rows: Sequence[int]

    def cells(self, name: str) -> Cells:
        """The cells of a column, which may be empty; raises DataError for an unknown column."""
        if name not in self.columns:
            close = nearest(name, self.columns)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(self.columns)}"
            raise DataError(f"{self.path} has no column '{name}': {hint}")
        return self.columns[name]

    def column(self, name: str) -> Cells:
        """The cells of a column, all present; raises DataError for an unknown column or the first empty cell."""
        cells = self.cells(name)
        gaps = cells.gaps() if isinstance(cells, ArrowCells) else (i for i, cell in enumerate(cells) if missing(cell))
        for place in gaps:
            raise self.fault(place, f"column '{name}' is empty")
        return cells

    def fault(self, place: int, what: str) -> DataError:
        """An error about the cell at `place` of a column, naming its row."""
        return DataError(f"{self.path}, row {self.rows[place]}: {what}")

    def find(self, *names: str) -> list[str]:
        """The columns that are called one of `names`, in any case, in the order of `names`."""
        by_name = {column.strip().casefold(): column for column in reversed(list(self.columns))}
        return [by_name[name] for name in names if name in by_name]


def missing(cell: Any) -> bool:
    """Whether a cell holds nothing."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


class ArrowCells(Sequence[Any]):
    """A column of images that stays in Arrow's memory until a cell is asked for.

    load: gives the column (a pyarrow.ChunkedArray); called again in another process, to which nothing of it is sent.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._column: Any = None

    @property
    def column(self) -> Any:
        """The pyarrow.ChunkedArray."""
        if self._column is None:
            self._column = self._load()
        return self._column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.column[index.start or 0 : len(self) if index.stop is None else index.stop].to_pylist()
        return self.column[index].as_py()

    def gaps(self) -> list[int]:
        """Places of the cells that hold nothing."""
        if not self.column.null_count:
            return []
        return [place for place, empty in enumerate(self.column.is_null().to_pylist()) if empty]

    def __getstate__(self) -> dict[str, Any]:
        return {"_load": self._load, "_column": None}


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
    if not table.rows:
        raise DataError(f"{path} has no rows")
    return table


def read_text(path: Path) -> str:
    """A whole file as text; DataError, naming the line, where it is not UTF-8."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16 text: save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}, is not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def _delimited(path: Path) -> Table:
    text = read_text(path)
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
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except _Twice as error:
            raise DataError(f"{path}, row {number}: '{error}' stands twice") from None
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


class _Twice(Exception):
    """A name that stands twice in one JSON object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return record


# ------------------------------------------------------------------------------------------------------------ Arrow


def _parquet(path: Path) -> Table:
    table = _read_parquet(path, None)
    return Table(path, arrow_columns(path, table, partial(_parquet_column, path)), range(1, table.num_rows + 1))


def _read_parquet(path: Path, columns: list[str] | None) -> Any:
    import pyarrow  # here, because importing it costs more than reading most tables
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=False).read(columns=columns)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DataError(f"{path} is not a readable Parquet file: {lines[0]}") from None


def _parquet_column(path: Path, name: str) -> Any:
    return _read_parquet(path, [name]).column(name)


def arrow_columns(path: Path, table: Any, load: Callable[[str], Any]) -> dict[str, Cells]:
    """The columns of a pyarrow.Table: images, which are bytes, as ArrowCells, all others as Python's own values.

    load: gives a column by name once more. A whole number that the table's own metadata names (the ClassLabel of
    Hugging Face's `datasets`) becomes that name.
    """
    _check_header(path, table.column_names)
    named = class_labels(table.schema.metadata)
    columns: dict[str, Cells] = {}
    for name in table.column_names:
        column = table.column(name)
        if holds_bytes(column.type):
            columns[name] = ArrowCells(partial(load, name))
        else:
            try:
                columns[name] = _named(column.to_pylist(), named.get(name))
            except (ValueError, OverflowError) as error:  # a date beyond what Python can hold
                raise DataError(f"{path}: column '{name}' cannot be read: {error}") from None
    return columns


def holds_bytes(kind: Any) -> bool:
    """Whether an Arrow type is that of encoded images: bytes, or a struct with a field `bytes`."""
    import pyarrow.types as types

    if types.is_binary(kind) or types.is_large_binary(kind):
        return True
    return types.is_struct(kind) and any(
        field.name == "bytes" and holds_bytes(field.type) for field in (kind.field(i) for i in range(kind.num_fields))
    )


def class_labels(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> the names of its whole numbers, from the metadata that Hugging Face's `datasets` writes."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return named_features(features)
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


def named_features(features: Any) -> dict[str, list[str]]:
    """Column -> names, of features as `datasets` writes them in JSON; lists of class labels too."""
    named = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else None
        inner = inner[0] if isinstance(inner, list) and inner else inner
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            named[str(column)] = names
    return named


def _named(cells: list[Any], names: list[str] | None) -> list[Any]:
    if names is None:
        return cells

    def of(cell: Any) -> Any:
        if isinstance(cell, list):
            return [of(each) for each in cell]
        return names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else None

    return [of(cell) for cell in cells]
