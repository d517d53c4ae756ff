"""Predictions as lines of a table: CSV (RFC 4180) or JSONL, UTF-8, one per input, in input order.

A file name that is no Unicode is written with `\\udcXX` for each byte that is none. In JSONL that is an escape, and a
reader gets the name back; in CSV it is text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vitrail import durable
from vitrail.contracts import ROW, Prediction
from vitrail.errors import UsageError

Write = Callable[[Prediction], None]


def record(prediction: Prediction) -> dict[str, Any]:
    """path, status, reason and the task's values; a failed input has none of these."""
    assert not set(prediction.values).intersection(ROW), "see tasks.refuse_taken"
    return {
        "path": prediction.source,
        "status": prediction.status,
        "reason": prediction.reason,
        **{name: _rounded(value) for name, value in prediction.values.items()},
    }


def csv_header(columns: Sequence[str]) -> str:
    """The first line of a table whose task has these columns."""
    return _csv_line([*ROW, *columns])


def csv_row(prediction: Prediction, columns: Sequence[str]) -> str:
    """A line of CSV; what a failed input lacks is empty."""
    values = record(prediction)
    return _csv_line([values.get(name, "") for name in (*ROW, *columns)])


def json_row(prediction: Prediction) -> str:
    """A line of JSONL."""
    return _writable(json.dumps(record(prediction), ensure_ascii=False)) + "\n"


def table_path(out: Path) -> Path:
    """The file that `--out` means: FILE.csv, FILE.jsonl, or predictions.csv in FOLDER; else UsageError."""
    if out.is_dir() or not out.suffix:
        return out / "predictions.csv"
    if out.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"--out {out}: give FILE.csv, FILE.jsonl or a FOLDER")
    return out


@contextmanager
def table_file(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Write rows to a file that appears when all of them are there, replacing what was there.

    Raises TrainingError, in words, where the disk refuses; then, or when anything else fails, nothing is left behind.
    """
    as_csv = path.suffix.lower() != ".jsonl"
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with _said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = temporary.open("w", encoding="utf-8", newline="")

    def write(prediction: Prediction) -> None:
        with _said(path):
            file.write(csv_row(prediction, columns) if as_csv else json_row(prediction))

    try:
        if as_csv:
            file.write(csv_header(columns))
        yield write
        with _said(path):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # of a full disk, closing complains once more
            file.close()
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise durable.storage_error(error, f"cannot write {path}") from None


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _csv_line(values: Sequence[Any]) -> str:
    return ",".join(_csv_cell(value) for value in values) + "\n"


def _csv_cell(value: Any) -> str:
    """Quoted where a comma, a quote or either kind of line end stands in it (the csv module forgets a lone \\r)."""
    text = _writable(f"{value:.6f}" if isinstance(value, float) else str(value))
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
