"""From the words of a command line to single inputs: files as they are, folders walked, patterns matched."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from vitrail.contracts import Failure
from vitrail.data.signatures import IMAGE_EXTENSIONS


def expand(words: Iterable[str]) -> Iterator[str | Failure]:
    """Inputs in the order given, found while they are consumed: at least one per word.

    A folder becomes the images below it, in the order of their paths; a pattern (`new/*.jpg`, `**` for any depth) its
    matches, sorted. A word that leads to no image is a Failure. A file that exists is itself, whatever its name.
    """
    for word in words:
        if os.path.isdir(word):
            yield from _folder(word)
        elif glob.has_magic(word) and not os.path.lexists(word):
            matches = sorted(glob.iglob(word, recursive=True), key=lambda path: path + "/" * os.path.isdir(path))
            for match in matches:
                if os.path.isdir(match):
                    yield from _folder(match)
                else:
                    yield match
            if not matches:
                yield Failure(word, "no file matches")
        else:
            yield word


def _folder(folder: str) -> Iterator[str | Failure]:
    empty = True
    for path in _images(folder, set()):
        empty = False
        yield path
    if empty:
        yield Failure(folder, "a folder without images")


def _images(folder: str, above: set[tuple[int, int]]) -> Iterator[str | Failure]:
    """Image files below a folder in the order of their paths, hidden ones left out.

    above: the folders that led here; a link back to one of them is not followed.
    """
    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        with os.scandir(folder) as opened:  # a folder sorts as its name and "/", as in the paths it leads to
            entries = sorted((entry.name + "/" * entry.is_dir(), entry.path) for entry in opened)
    except OSError as error:
        yield Failure(folder, f"cannot be listed: {(error.strerror or str(error)).lower()}")
        return
    for name, path in entries:
        if name.startswith("."):
            continue
        if name.endswith("/"):
            yield from _images(path, above | {identity})
        elif os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS:
            yield path
