"""results.csv and results.json of a study: every measured figure as plain data, for whoever reads them by program."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from vitrail import durable

LEFT_OUT = "draws"
"""The field of a statistic that holds what it was read from: thousands of draws, which no reader of a file asks for."""


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> Path:
    """Write a table: a header, then a row each, six significant digits; what is not known is empty, infinity is inf.

    rows: values in the order of `columns`, or by their names; a name that a row lacks is not known.  Raises ValueError
    for a row of another length or with a name that is no column, TrainingError where the disk refuses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for number, row in enumerate(rows, 1):
        if isinstance(row, Mapping):
            if odd := [name for name in row if name not in columns]:
                raise ValueError(f"Row {number} has a value for {odd[0]!r}, which is no column: {', '.join(columns)}.")
            row = [row.get(name) for name in columns]
        if len(row) != len(columns):
            raise ValueError(f"Row {number} has {len(row)} values for {len(columns)} columns.")
        writer.writerow([_cell(value) for value in row])
    return _write(path, text.getvalue())


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON that every parser reads; see `plain`. Raises TrainingError where the disk refuses."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1)
    return _write(path, text.encode("utf-8", "backslashreplace").decode() + "\n")


def plain(value: Any) -> Any:
    """Mappings, lists, text, numbers and None alone: what JSON holds.

    Dataclasses become mappings without their `draws`, arrays lists, paths text. JSON has no number that is not finite:
    it is null, and in a mapping KEY_is beside it says which: "infinite", "minus infinite" or "unknown". Raises
    TypeError for anything else, and ValueError for two keys that are one in JSON.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name != LEFT_OUT]
        return plain({name: getattr(value, name) for name in fields})
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, (str, int)):
        return value
    raise TypeError(f"JSON holds no {type(value).__name__}: {value!r}.")


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, entry in value.items():
        number = entry.tolist() if hasattr(entry, "tolist") else entry
        marked = isinstance(number, float) and not math.isfinite(number)
        new = {str(key): plain(number)} | ({f"{key}_is": _is(number)} if marked else {})
        if taken := made.keys() & new.keys():
            raise ValueError(f"Two keys of a mapping are {sorted(taken)[0]!r} in JSON.")
        made |= new
    return made


def _is(number: float) -> str:
    return "unknown" if math.isnan(number) else "infinite" if number > 0 else "minus infinite"


def _cell(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _write(path: Path, text: str) -> Path:
    try:
        durable.write_file(path, text)
    except OSError as error:
        raise durable.storage_error(error, f"cannot write {path}") from None
    return path
