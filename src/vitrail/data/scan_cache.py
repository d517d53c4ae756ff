"""What earlier scans learnt, by path, size and time of change: a second scan decodes only what is new.

One compressed JSON file per source, under $VITRAIL_CACHE, else $XDG_CACHE_HOME/vitrail, else ~/.cache/vitrail. It only
saves time: whatever is wrong with it, or with where it should stand, the scan goes on without it.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vitrail import durable
from vitrail.data.facts import Facts
from vitrail.data.scan_worker import Limits
from vitrail.durable import cache_folder

VERSION = 1
"""To be raised with every change of what `image` or `facts` say of the same bytes."""

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""


def stamp(path: Path) -> Stamp | None:
    """What tells whether a file is still the one that was examined; None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class ScanCache:
    """Facts of the files of one source, valid for the same limits and the same decoders only."""

    def __init__(self, location: str, limits: Limits) -> None:
        decoders = [VERSION, version("pillow"), version("simplejpeg")]
        self._header: dict[str, Any] = {"decoders": decoders, "limits": dataclasses.asdict(limits)}
        name = hashlib.blake2b(os.fsencode(os.path.abspath(location)), digest_size=12).hexdigest()
        self._folder: Path | None = None
        self._known: dict[str, Any] = {}
        self._learnt: dict[str, Any] = {}
        try:
            self._folder = cache_folder() / "scan"
        except RuntimeError:  # there is no home
            return
        self._path = self._folder / f"{name}.json.gz"
        self._known = self._load()

    def get(self, path: Path, now: Stamp | None) -> Facts | None:
        """Facts of the file as it stands `now`, None where they are not known."""
        match self._known.get(str(path)):
            case [size, changed, packed] if now == (size, changed):
                facts = Facts.unpack(packed)
                if facts is not None:
                    self._learnt[str(path)] = [size, changed, packed]
                return facts
        return None

    def put(self, path: Path, now: Stamp | None, facts: Facts) -> None:
        """Remember the facts of a file whose stamp was `now` before it was read."""
        if now is not None and facts.lasting:
            self._learnt[str(path)] = [*now, facts.pack()]

    def save(self) -> None:
        """Write what this scan met, and nothing of files it did not; does nothing where that is impossible."""
        if self._folder is None or self._learnt == self._known:
            return
        content = json.dumps({**self._header, "files": self._learnt}, separators=(",", ":")).encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            durable.write_file(self._path, gzip.compress(content, compresslevel=1, mtime=0))
        except OSError:
            pass

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(gzip.decompress(self._path.read_bytes()))
        except (OSError, EOFError, ValueError, zlib.error, RecursionError):
            return {}
        match content:
            case {"files": dict() as files, **header} if header == self._header:
                return files
        return {}
