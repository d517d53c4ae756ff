"""A user's own split: lists beside each other (train.txt, val.txt, test.txt), or a table of paths and splits."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitrail.contracts import Source
from vitrail.data.items import SPLIT_WORDS, SPLITS, SplitName
from vitrail.data.table_source import find_image_column, read_splits
from vitrail.data.tables import TABLE_EXTENSIONS, read_table
from vitrail.errors import DataError, UsageError, nearest


@dataclass(frozen=True)
class Listed:
    """Split of each sample that a user listed, by source index, and how it was read, in a clause."""

    splits: Mapping[int, SplitName]
    how: str


@dataclass(frozen=True)
class _Entry:
    path: str
    split: SplitName
    where: str


def read_split_file(path: Path, source: Source) -> Listed:
    """Read a split file and find every path it lists among the samples' keys (paths relative to the source's root).

    path: one of train.txt, val.txt (valid, validation) and test.txt, or their folder - the others beside it are read
    too - or a table with path and split columns. Raises UsageError where there is no such file; DataError where a
    listed path is no sample, or is in two splits.
    """
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".txt"):
        entries, names = _read_lists(path)
    elif path.is_file() and path.suffix.lower() in TABLE_EXTENSIONS:
        entries, names = _read_table(path), path.name
    elif path.exists():
        raise UsageError(f"--split-file {path}: give a train.txt or a table ({', '.join(TABLE_EXTENSIONS)})")
    else:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        hint = f": did you mean '{path.parent / close[0]}'?" if close else ""
        raise UsageError(f"no such split file: '{path}'{hint}")
    if not entries:
        raise DataError(f"split file {path} lists nothing")
    splits = _find(entries, source)
    left_out = len(source.items) - len(splits)
    unlisted = f" ({left_out} files that it does not list are left out)" if left_out else ""
    return Listed(splits, f"{names} obeyed{unlisted}")


def _read_lists(path: Path) -> tuple[list[_Entry], str]:
    folder = path if path.is_dir() else path.parent
    lists: dict[SplitName, Path] = {}
    for candidate in sorted(folder.glob("*.[tT][xX][tT]")):
        split = SPLIT_WORDS.get(candidate.stem.casefold())
        if split in lists:
            raise DataError(f"both {lists[split]} and {candidate.name} list the {split} split: keep one")
        if split:
            lists[split] = candidate
    if not lists or (path.is_file() and path not in lists.values()):
        raise UsageError(f"--split-file {path}: lists are called train.txt, val.txt and test.txt")
    entries = [entry for split in SPLITS if split in lists for entry in _read_list(lists[split], split)]
    return entries, ", ".join(lists[split].name for split in SPLITS if split in lists)


def _read_list(path: Path, split: SplitName) -> Iterable[_Entry]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    return [_Entry(line.strip(), split, f"{path.name}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def _read_table(path: Path) -> list[_Entry]:
    table = read_table(path)
    column = next(iter(table.find("split")), "split")
    paths = [str(cell) for cell in table.column(find_image_column(table, []))]
    splits = read_splits(table, column)
    return [_Entry(p, s, f"row {row}") for p, s, row in zip(paths, splits, table.rows, strict=True)]


def _find(entries: list[_Entry], source: Source) -> dict[int, SplitName]:
    by_key = {item.key: index for index, item in enumerate(source.items)}
    found: dict[int, SplitName] = {}
    where: dict[int, str] = {}
    missing: list[_Entry] = []
    for entry in entries:
        stripped = entry.path.strip()  # a name may itself begin or end with a space
        index = by_key.get(entry.path, by_key.get(stripped, by_key.get(_plain(stripped, source.location))))
        if index is None:
            missing.append(entry)
        elif found.setdefault(index, entry.split) != entry.split:
            raise DataError(f"{entry.path} is in two splits: {found[index]} ({where[index]}) and {entry.where}")
        else:
            where.setdefault(index, entry.where)
    if missing:
        first, some = missing[0], next(iter(by_key), "")
        count = f"{len(missing)} of the {len(entries)} listed paths are" if len(missing) > 1 else "a listed path is"
        raise DataError(
            f"{count} not in {source.location}; first: '{first.path}' ({first.where}).\n"
            f"Paths are relative to it, such as '{some}'."
        )
    return found


def _plain(path: str, location: str) -> str:
    """A path as keys are written: relative to the source, with forward slashes."""
    if os.path.isabs(path) and os.path.isabs(location):
        path = os.path.relpath(path, location)
    return posixpath.normpath(path.replace("\\", "/"))
