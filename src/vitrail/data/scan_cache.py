"""What earlier scans learnt, by path, size and time of change: a second scan decodes only what is new.

One file per source, under $VITRAIL_CACHE, else $XDG_CACHE_HOME/vitrail, else ~/.cache/vitrail: lines of JSON in gzip
members that are appended while a scan runs, so that a killed one goes on where it was and nothing is kept in memory.
A member is believed only whole, with its checksum. The file only saves time: whatever is wrong with it, or with where
it should stand, the scan goes on without it.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from vitrail.data.facts import Facts
from vitrail.data.scan_worker import Limits
from vitrail.durable import cache_folder

VERSION = 2
"""To be raised with every change of what `image` or `facts` say of the same bytes."""

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""

_MOST_LINES = 256
_MOST_SECONDS = 2.0
"""What a scan learnt is written when there is so much of it, or when it has waited so long."""

_CHUNK = 2**18


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
        self._path: Path | None = None
        self._lines: list[str] = []
        self._written = time.monotonic()
        try:
            self._path = cache_folder() / "scan" / f"{name}-{limits.kind}.jsonl.gz"
        except RuntimeError:  # there is no home
            return

    def recall(self, now: Mapping[str, Stamp | None]) -> Iterator[tuple[str, Facts]]:
        """(path, facts) of the files that still are as they were, of those in `now`, path -> stamp.

        To be read to its end before anything is put: what is damaged, out of date or of other decoders is then gone.
        """
        if self._path is None or not self._path.is_file():
            return
        kept, passed, sound = 0, 0, True
        try:
            for path, _, packed in self._entries(now):
                facts = Facts.unpack(packed) if path else None
                if facts is None:
                    passed += 1
                else:
                    kept += 1
                    yield path, facts
        except (OSError, EOFError, ValueError, zlib.error, RecursionError):
            sound = False
        if not sound or passed > kept:
            self._rewrite(now)

    def put(self, path: Path, now: Stamp | None, facts: Facts) -> None:
        """Remember the facts of a file whose stamp was `now` before it was read."""
        if now is not None and facts.lasting:
            self._lines.append(_line(str(path), now, facts.pack()))
            if len(self._lines) >= _MOST_LINES or time.monotonic() - self._written > _MOST_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write what was put; does nothing where that is impossible."""
        if self._path is not None and self._lines:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("ab") as file:
                    new = [] if file.tell() else [json.dumps(self._header)]
                    file.write(_member([*new, *self._lines]))
            except OSError:
                pass
        self._lines = []
        self._written = time.monotonic()

    def _entries(self, now: Mapping[str, Stamp | None]) -> Iterator[tuple[str, Stamp, Any]]:
        """(path, stamp, packed facts) of each line; the path is "" where the file is not as it was."""
        assert self._path is not None
        with self._path.open("rb") as file:
            lines = (line for member in _members(file) for line in member.splitlines())
            if json.loads(next(lines, b"null")) != self._header:
                raise ValueError("of another kind")
            for line in lines:
                match json.loads(line):
                    case [str(path), int(size), int(changed), packed]:
                        current = now.get(path) == (size, changed)
                        yield (path if current else ""), (size, changed), packed
                    case _:
                        raise ValueError("no entry")

    def _rewrite(self, now: Mapping[str, Stamp | None]) -> None:
        """Keep of the file what is sound and still true; if even that is impossible, nothing."""
        assert self._path is not None
        temporary = self._path.with_name(f".{self._path.name}.tmp-{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                lines = [json.dumps(self._header)]
                try:
                    for path, changed, packed in self._entries(now):
                        if path and Facts.unpack(packed) is not None:
                            lines.append(_line(path, changed, packed))
                        if len(lines) >= _MOST_LINES:
                            file.write(_member(lines))
                            lines = []
                except (OSError, EOFError, ValueError, zlib.error, RecursionError):
                    pass  # what came before the damage is kept
                if lines:
                    file.write(_member(lines))
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)


def _line(path: str, now: Stamp, packed: Any) -> str:
    return json.dumps([path, *now, packed], separators=(",", ":"))


def _member(lines: list[str]) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=1, mtime=0)


def _members(file: IO[bytes]) -> Iterator[bytes]:
    """The checked content of each gzip member; raises EOFError or zlib.error at the first that is not whole."""
    rest = file.read(_CHUNK)
    while rest:
        member = zlib.decompressobj(wbits=31)
        content = []
        while not member.eof:
            if not rest:
                raise EOFError("cut off")
            content.append(member.decompress(rest))
            rest = member.unused_data if member.eof else file.read(_CHUNK)
        rest = rest or file.read(_CHUNK)
        yield b"".join(content)
