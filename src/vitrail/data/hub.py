"""Sets as Hugging Face's `datasets` keeps them: saved folders, folders of Parquet files, and names on the hub.

Folders are read by pyarrow alone; only a name on the hub needs the library, and the network, because a user asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vitrail.data.items import SPLIT_WORDS, SplitName
from vitrail.data.table_source import TableSource, open_table
from vitrail.data.tables import Cells, Table, arrow_columns, class_labels, named_features
from vitrail.errors import DataError, UsageError
from vitrail.settings import DataConfig

PREFIX = "hf:"
STATE, PARTS = "state.json", "dataset_dict.json"
SPLIT = "split"
"""The column that a set's own splits become."""

Shard = tuple[Path, SplitName | None]


def find_shards(folder: Path) -> list[Shard]:
    """The files of a saved set, each with its split; [] where the folder is none.

    `save_to_disk`: a set (state.json) or a folder per split (dataset_dict.json). Otherwise Parquet files at the top or
    in data/, whose names begin with their split, as the hub has them.
    """
    if (folder / PARTS).is_file():
        names = _json(folder / PARTS, "splits")
        return [shard for name in names for shard in _saved(folder / str(name), _split(str(name), folder))]
    if (folder / STATE).is_file():
        return _saved(folder, None)
    inside = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if set(inside) - {"data"}:  # a table beside folders of images is no set
        return []
    files = sorted(path for pattern in ("*.parquet", "data/*.parquet") for path in folder.glob(pattern))
    splits = [SPLIT_WORDS.get(path.name.partition("-")[0].partition(".")[0].casefold()) for path in files]
    if any(splits) and not all(splits):
        raise DataError(f"{files[splits.index(None)]} is in no split, other files of {folder} are: train-..., test-...")
    return list(zip(files, splits, strict=True))


def open_saved(folder: Path, shards: Sequence[Shard], config: DataConfig, task: str | None = None) -> TableSource:
    """A saved set as a table whose images it holds; DataError where a file is damaged or columns differ."""
    names = _saved_names(folder)
    tables = [_read(path) for path, _ in shards]
    for (path, _), table in zip(shards, tables, strict=True):
        if table.schema.names != tables[0].schema.names:
            raise DataError(f"{path} has the columns {', '.join(table.schema.names)}, unlike {shards[0][0].name}")
    paths = tuple(path for path, _ in shards)
    whole = _joined(tables, paths)
    columns: dict[str, Cells] = dict(arrow_columns(folder, whole, partial(_column, paths)))
    for name, labels in names.items():  # saved sets name classes in a file of their own
        if name in columns and name not in class_labels(whole.schema.metadata):
            columns[name] = [labels[cell] if isinstance(cell, int) else cell for cell in columns[name]]
    splits = [split for (_, split), table in zip(shards, tables, strict=True) for _ in range(table.num_rows)]
    return _open(folder, columns, splits, whole.num_rows, config, task)


def open_hub(name: str, config: DataConfig, task: str | None = None) -> TableSource:
    """`hf:OWNER/NAME` or `hf:OWNER/NAME:CONFIGURATION`, by the library `datasets`.

    Raises UsageError where the library is not installed, with the command that does; DataError where the set cannot be
    had.
    """
    try:
        import datasets
    except ImportError:
        raise UsageError(f"{name} is on Hugging Face's hub: pip install 'vitrail[hub]' to read it") from None
    known, _, configuration = name.removeprefix(PREFIX).partition(":")
    if not known:
        raise UsageError(f"{name} names no set: hf:OWNER/NAME")
    try:
        loaded = datasets.load_dataset(known, configuration or None)
    except Exception as error:  # of the library, of the network, of the set's own files
        raise DataError(f"{name} cannot be loaded: {' '.join(str(error).split())[:200]}") from None
    parts: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {"": loaded}
    sets = [(_split(split, Path(known)) if split else None, part) for split, part in parts.items()]
    tables = [part.with_format("arrow")[:] for _, part in sets]
    whole = _joined(tables, [Path(known)] * len(tables))
    columns = arrow_columns(Path(known), whole, partial(_of_table, whole))
    splits = [split for (split, _), table in zip(sets, tables, strict=True) for _ in range(table.num_rows)]
    source = _open(Path(known), columns, splits, whole.num_rows, config, task)
    source.location = name
    return source


def _open(
    path: Path, columns: Mapping[str, Cells], splits: Sequence[SplitName | None], rows: int, config: DataConfig,
    task: str | None,
) -> TableSource:  # fmt: skip
    if not rows:
        raise DataError(f"{path} has no rows")
    if any(splits) and SPLIT not in columns:
        columns = {**columns, SPLIT: splits}
    return open_table(Table(path, columns, range(rows)), config, task)


def _split(name: str, where: Path) -> SplitName:
    if name.casefold() not in SPLIT_WORDS:
        raise DataError(f"{where} has a split '{name}', which is none of {', '.join(SPLIT_WORDS)}")
    return SPLIT_WORDS[name.casefold()]


def _saved(folder: Path, split: SplitName | None) -> list[Shard]:
    files = [folder / str(entry.get("filename")) for entry in _json(folder / STATE, "_data_files")]
    for path in files:
        if path.parent != folder or not path.is_file():
            raise DataError(f"{folder / STATE} names {path.name}, which is not there")
    return [(path, split) for path in files]


def _saved_names(folder: Path) -> dict[str, list[str]]:
    """Column -> class names, of `save_to_disk`."""
    for path in sorted([folder / "dataset_info.json", *folder.glob("*/dataset_info.json")]):
        if path.is_file():
            return named_features(_json(path, "features"))
    return {}


def _json(path: Path, name: str) -> Any:
    try:
        content = json.loads(path.read_bytes())
        found = content[name]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path} is damaged: it has no '{name}'") from None
    if name != "features" and not (isinstance(found, list) and all(isinstance(each, (str, dict)) for each in found)):
        raise DataError(f"{path} is damaged: its '{name}' is no list")
    return found


def _read(path: Path) -> Any:
    """An Arrow stream, mapped into memory and not copied, or a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".parquet":
            return pyarrow.parquet.ParquetFile(path, memory_map=False).read()
        return pyarrow.ipc.open_stream(pyarrow.memory_map(os.fspath(path))).read_all()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DataError(f"{path} is damaged: {lines[0]}") from None


def _joined(tables: Sequence[Any], paths: Sequence[Path]) -> Any:
    import pyarrow

    try:
        return pyarrow.concat_tables(tables)
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise DataError(f"the files of {paths[0].parent} differ in their columns: {first}") from None


def _column(paths: Sequence[Path], name: str) -> Any:
    return _joined([_read(path) for path in paths], paths).column(name)


def _of_table(table: Any, name: str) -> Any:
    return table.column(name)
