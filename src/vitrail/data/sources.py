"""From what a user calls DATA to a source: a folder, a table, annotations, a saved set, or a built-in name."""

from __future__ import annotations

from pathlib import Path

from vitrail.contracts import Source
from vitrail.data.builtin import BUILTIN, DigitsSource, ShapesSource
from vitrail.data.coco import find_coco, open_coco
from vitrail.data.dataset import DatasetSource
from vitrail.data.folder import FolderSource
from vitrail.data.hub import PREFIX, find_shards, open_hub, open_saved
from vitrail.data.pairs import PairSource, find_pairs
from vitrail.data.table_source import TableSource, open_table
from vitrail.data.tables import TABLE_EXTENSIONS, read_table
from vitrail.data.voc import is_voc, open_voc
from vitrail.errors import UsageError, nearest
from vitrail.settings import DataConfig

__all__ = ["DatasetSource", "DigitsSource", "FolderSource", "ShapesSource", "TableSource", "open_source"]

OPTIONS = {
    "target": "a table, a folder of masks, annotations or shapes",
    "images": "a table or annotations",
    "group": "a table",
    "weight": "a table",
    "stratify": "a table",
}
"""Fields of the data that only some kinds of it can obey -> those kinds."""
OBEYED: dict[str, tuple[str, ...]] = {
    "table": tuple(OPTIONS),
    "coco": ("target", "images"),
    "voc": ("target",),
    "pairs": ("target",),
    "shapes": ("target",),
}


def open_source(config: DataConfig, task: str | None = None) -> Source:
    """Open `config.source`. A built-in name comes first: a folder called digits is ./digits.

    task: whose form the targets are to have; None leaves it to what is there. Raises UsageError where there is no such
    thing, with the nearest name that exists, or where it cannot obey what is stated; DataError where what is there
    cannot be used.
    """
    if config.source in BUILTIN:
        _check_obeyed(config, config.source)
        return BUILTIN[config.source](config, task)
    if not config.source.strip():
        raise UsageError("no data given: name a folder, a table or a built-in set")
    if config.source.startswith(PREFIX):
        return open_hub(config.source, config, task)
    try:
        path = Path(config.source).expanduser()
        if path.is_dir():
            return _open_folder(path, config, task)
        if path.suffix.lower() in TABLE_EXTENSIONS and path.is_file():
            return open_table(read_table(path), config, task)
        if path.suffix.lower() == ".json" and path.is_file():
            _check_obeyed(config, "coco")
            return open_coco([path], config, task)
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, no permission, ~nobody
        raise UsageError(f"cannot open data '{config.source}': {getattr(error, 'strerror', None) or error}") from None
    if exists:
        raise UsageError(
            f"{path} is a file: give the folder of images around it, a table ({', '.join(TABLE_EXTENSIONS)}) or COCO's"
            " .json"
        )
    raise UsageError(f"no such folder, table or built-in set: '{config.source}'{_hint(path)}")


def _open_folder(path: Path, config: DataConfig, task: str | None) -> Source:
    """What is in a folder decides; class folders are what is left."""
    if is_voc(path):
        _check_obeyed(config, "voc")
        return open_voc(path, config, task)
    coco = find_coco(path)
    if coco:
        _check_obeyed(config, "coco")
        return open_coco(coco, config, task)
    shards = find_shards(path)
    if shards:
        return open_saved(path, shards, config, task)
    dense = task in ("segment", "depth")
    if dense or (task is None and find_pairs(path, config.target) is not None):
        _check_obeyed(config, "pairs")
        return PairSource(path, config, task)
    _check_obeyed(config, "folder")
    if task not in (None, "classify"):
        raise UsageError(
            f"{path} is a folder of classes, which {task} cannot learn from: give a table with a column of targets"
        )
    return FolderSource(path, config.max_pixels)


def _check_obeyed(config: DataConfig, kind: str) -> None:
    for name, kinds in OPTIONS.items():
        if getattr(config, name) is not None and name not in OBEYED.get(kind, ()):
            option = f"--{name}" if name in ("target", "group") else f"data.{name}"
            raise UsageError(f"{option} {getattr(config, name)}: that is for {kinds}, which {config.source} is not")


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
