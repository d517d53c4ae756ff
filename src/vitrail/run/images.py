"""The images of DATA for pretraining: with or without targets, which are not looked at either way."""

from __future__ import annotations

from pathlib import Path

from vitrail.contracts import Source
from vitrail.data.audit import Audit
from vitrail.data.folder import FolderSource
from vitrail.data.inference import infer_task
from vitrail.data.sources import open_source
from vitrail.data.split import Split, make_split
from vitrail.data.table_source import open_unlabelled
from vitrail.data.tables import TABLE_EXTENSIONS, read_table
from vitrail.errors import DataError
from vitrail.run.loose import LooseFiles
from vitrail.settings import NO_TASK, DataConfig


def open_images(config: DataConfig) -> Source:
    """What `vitrail train` would open, or, where it finds no targets, the images themselves: of a folder at any depth,
    or of a table's rows. So too where it would pass over images that stand in no folder of a class, unless folders say
    what is train and what is test.

    Raises what `open_source` raises where there are no images either.
    """
    place = Path(config.source).expanduser()
    try:
        source = open_source(config)
        if isinstance(source, FolderSource) and not any(item.split for item in source.items):
            files = LooseFiles(place, config.max_pixels)
            if len(files.items) > len(source.items):
                return files
        return source
    except DataError:
        if place.is_dir():
            files = LooseFiles(place, config.max_pixels)
            if files.items:
                return files
        elif place.suffix.lower() in TABLE_EXTENSIONS and place.is_file():
            return open_unlabelled(read_table(place), config)
        raise


def split_images(source: Source, audit: Audit, config: DataConfig) -> tuple[Split, str]:
    """The split that `vitrail train` would make of the same data, and of which task: what is its test is not seen here.

    Where there are no targets to train on, the task is NO_TASK, and no test is cut off.
    """
    try:
        if any(item.target is not None for item in source.items):
            task = infer_task(source).task
            return make_split(source, audit.usable, audit.content, config, task), task
    except DataError:
        pass  # targets that cannot be trained on are no targets
    whole = config.model_copy(update={"test_fraction": 0.0, "stratify": None})
    return make_split(source, audit.usable, audit.content, whole, NO_TASK), NO_TASK
