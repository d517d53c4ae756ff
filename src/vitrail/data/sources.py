"""From what a user calls DATA to a source: a folder, a table, or a built-in name."""

from __future__ import annotations

from pathlib import Path

from vitrail.contracts import Source
from vitrail.data.builtin import BUILTIN, DigitsSource, ShapesSource
from vitrail.data.dataset import DatasetSource
from vitrail.data.folder import FolderSource
from vitrail.data.table_source import TableSource
from vitrail.data.tables import TABLE_EXTENSIONS
from vitrail.errors import UsageError, nearest
from vitrail.settings import DataConfig

__all__ = ["DatasetSource", "DigitsSource", "FolderSource", "ShapesSource", "TableSource", "open_source"]


def open_source(config: DataConfig) -> Source:
    """Open `config.source`. A built-in name comes first: a folder called digits is ./digits.

    Raises UsageError where there is no such thing, with the nearest name that exists; DataError where what is there
    cannot be used.
    """
    if config.source in BUILTIN:
        return BUILTIN[config.source](config)
    if not config.source.strip():
        raise UsageError("no data given: name a folder, a table or a built-in set")
    try:
        path = Path(config.source).expanduser()
        if path.is_dir():
            return FolderSource(path, config.max_pixels)
        if path.suffix.lower() in TABLE_EXTENSIONS and path.is_file():
            return TableSource(path, config.target, config.group, config.max_pixels)
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, no permission, ~nobody
        raise UsageError(f"cannot open data '{config.source}': {getattr(error, 'strerror', None) or error}") from None
    if exists:
        raise UsageError(
            f"{path} is a file: give the folder of images around it, or a table ({', '.join(TABLE_EXTENSIONS)})"
        )
    raise UsageError(f"no such folder, table or built-in set: '{config.source}'{_hint(path)}")


def _hint(path: Path) -> str:
    """The nearest thing that exists, looked for where the path stops existing."""
    missing = path
    while not missing.parent.is_dir() and missing != missing.parent:
        missing = missing.parent
    try:
        beside = [p.name for p in missing.parent.iterdir() if p.is_dir() or p.suffix.lower() in TABLE_EXTENSIONS]
    except OSError:
        beside = []
    built_in = list(BUILTIN) if path.name == str(path) else []
    close = nearest(missing.name, [*built_in, *beside])
    if close:
        return f": did you mean '{close[0] if close[0] in built_in else missing.parent / close[0]}'?"
    return f": built in are {', '.join(sorted(BUILTIN))}" if built_in else f" ({missing} does not exist)"
