"""Where the images of a table's rows are: files, URLs, or bytes in the table itself."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vitrail.data import image, remote
from vitrail.data.items import is_text
from vitrail.data.tables import ArrowCells, Cells, Table
from vitrail.errors import BadImage, DataError

IMAGE_COLUMNS = (
    "image", "path", "image_path", "file", "filename", "file_name", "filepath", "file_path", "img", "img_path",
    "image_file", "image_url", "url", "name",
)  # fmt: skip
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "jpegimages")
"""Folders of images, in any case."""

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class References:
    """The image of every row. keys: unique names.  cells: the images themselves where the table holds them, else None.

    urls: whether any is a URL.  notes: what was guessed.
    """

    keys: list[str]
    cells: Cells | None = None
    urls: bool = False
    notes: tuple[str, ...] = field(default=())


def find_references(table: Table, pattern: str | None) -> tuple[str | None, References]:
    """The column that says where images are, None with a pattern, and what it says.

    pattern: a path with columns in braces, such as images/{name}.png. Raises DataError with the row for what is no
    image's place, and for one that is named twice.
    """
    folder = table.path.absolute().parent
    if pattern is not None:
        paths = filled(table, pattern)
        return None, References(_keys(table, paths, folder), urls=_has_urls(table, paths))
    notes: list[str] = []
    column = find_image_column(table, notes)
    cells = table.column(column)
    if _embedded(cells):
        keys = [f"{table.path.stem}/{row}" for row in table.rows]
        return column, References(keys, cells, notes=(*notes, "the images are in the table itself"))
    paths = _texts(table, column, cells)
    paths = _with_extensions(table, column, paths, folder, notes)
    return column, References(_keys(table, paths, folder), urls=_has_urls(table, paths), notes=tuple(notes))


def find_image_column(table: Table, notes: list[str]) -> str:
    """The column of images, by its usual name or else by what stands in it; says which in `notes`."""
    looking = [name for name, cells in table.columns.items() if _embedded(cells) or _looks_like_images(cells)]
    named = table.find(*IMAGE_COLUMNS)
    best = [name for name in named if name in looking] or looking or named
    if not best:
        raise DataError(
            f"{table.path} has no column of image paths: it has {', '.join(table.columns)}; call it 'image' or 'path',"
            " or say where they are, as in data.images=images/{name}.png"
        )
    why = "by its name" if best[0] in named else "by what stands in it"
    notes.append(f"images are in column '{best[0]}' ({why})")
    return best[0]


def filled(table: Table, pattern: str) -> list[str]:
    """A pattern with every row's cells in place of {column}; DataError for an unknown column, or for none."""
    names = _FIELD.findall(pattern)
    if not names:
        raise DataError(f"'{pattern}' names no column of {table.path} in braces, as in images/{{name}}.png")
    columns = [table.column(name) for name in names]
    parts = _FIELD.split(pattern)[::2]
    made = []
    for row in zip(*columns, strict=True):
        between = [f"{cell}{part}" for cell, part in zip(row, parts[1:], strict=True)]
        made.append(parts[0] + "".join(between))
    return made


def cell_bytes(cell: Any) -> bytes:
    """An image in a table, bytes or a struct {bytes, path}, as bytes; BadImage where there are none."""
    raw = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(raw, (bytes, bytearray)):
        raise BadImage("the table has no bytes for it")
    if len(raw) > image.MAX_BYTES:
        raise BadImage(f"{len(raw):,} bytes, more than the limit of {image.MAX_BYTES:,}")
    return bytes(raw)


def _embedded(cells: Cells) -> bool:
    return isinstance(cells, ArrowCells)


def _looks_like_images(cells: Cells) -> bool:
    sample = [cell for cell in cells[:200] if cell]
    files = [c for c in sample if isinstance(c, str) and PurePosixPath(c).suffix.lower() in image.IMAGE_EXTENSIONS]
    return bool(sample) and len(files) > 0.5 * len(sample)


def _texts(table: Table, column: str, cells: Cells) -> list[str]:
    for place, cell in enumerate(cells):
        whole = isinstance(cell, int) and not isinstance(cell, bool)  # a number may be a file's name, without its end
        if not (whole or isinstance(cell, str)) or not is_text(str(cell)):
            raise table.fault(place, f"column '{column}' holds no path but {str(cell)[:40]!r}")
    return [str(cell) for cell in cells]


def _with_extensions(table: Table, column: str, paths: list[str], folder: Path, notes: list[str]) -> list[str]:
    """Names without an extension, as the files of that name beside the table or in its folder of images.

    A name that no file has stays what it is, for the audit to name as bad.
    """
    if any(remote.protocol(path) or PurePosixPath(path).suffix.lower() in image.IMAGE_EXTENSIONS for path in paths):
        return paths
    if any((folder / path.strip()).is_file() for path in paths[:20] if "\0" not in path):
        return paths
    for place in _image_folders(folder):
        files: dict[str, list[str]] = {}
        for name in sorted(os.listdir(place)):
            stem, extension = os.path.splitext(name)
            if extension.lower() in image.IMAGE_EXTENSIONS:
                files.setdefault(stem, []).append(name)
        if not any(path in files for path in paths):
            continue
        below = "" if place == folder else f"{place.name}/"
        for number, path in enumerate(paths):
            if len(files.get(path, ())) > 1:
                raise table.fault(number, f"'{path}' could be {below}{files[path][0]} or {below}{files[path][1]}")
        first = files[next(path for path in paths if path in files)][0]
        extension = os.path.splitext(first)[1]
        notes.append(f"'{column}' has names without an extension: {below}{first} and so on are meant")
        return [below + (files[path][0] if path in files else path + extension) for path in paths]
    return paths


def _image_folders(folder: Path) -> list[Path]:
    try:
        inside = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
    return [folder, *(folder / name for name in inside if name.casefold() in IMAGE_FOLDERS)]


def _has_urls(table: Table, paths: Sequence[str]) -> bool:
    protocols = {remote.protocol(path) for path in paths} - {"", "file"}
    if protocols:
        remote.check_protocols(protocols, str(table.path))
    return bool(protocols)


def _keys(table: Table, paths: Sequence[str], folder: Path) -> list[str]:
    """Each row's URL, or its path relative to the table's folder where it lies below it."""
    rows: dict[str, int] = {}
    for row, path in zip(table.rows, paths, strict=True):
        key = _key(path.strip(), folder)
        if key in rows:
            raise DataError(
                f"{table.path}, row {row}: names the image of row {rows[key]} again ({key}): give one row per image"
            )
        rows[key] = row
    return list(rows)


def _key(path: str, folder: Path) -> str:
    kind = remote.protocol(path)
    if kind and kind != "file":
        return path
    written = os.path.normpath(remote.local_path(path) if kind else path)
    absolute = os.path.normpath(folder / written)
    below = os.path.commonpath([absolute, folder]) == str(folder)
    return Path(os.path.relpath(absolute, folder) if below else written).as_posix()
