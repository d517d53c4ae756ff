"""Files and folders that are whole or not there, and that know when they were changed.

A folder is committed in this order: fill a temporary sibling, fsync every file, write MANIFEST.json (size and blake2b
of each) last, fsync the folder, rename, fsync the parent. Whatever the moment of a crash, a reader finds the previous
folder or the new one, never a half; and `verify` finds a flipped bit, which safetensors by itself does not.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vitrail.errors import IntegrityError, TrainingError

MANIFEST = "MANIFEST.json"


def cache_folder() -> Path:
    """Where caches stand: $VITRAIL_CACHE, else $XDG_CACHE_HOME/vitrail, else ~/.cache/vitrail.

    Raises RuntimeError where there is no home.
    """
    if stated := os.environ.get("VITRAIL_CACHE"):
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrail"


def digest(path: Path) -> str:
    """blake2b-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def write_file(path: Path, content: bytes | str) -> None:
    """Replace a file's content atomically and durably; a failure leaves the old content and no temporary."""
    raw = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """NumPy arrays by name into one compressed .npz, as `write_file` writes; it holds no Python objects."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_file(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, Any]:
    """What `write_arrays` wrote; OSError where it is not there, ValueError where it is anything else.

    The one place that reads such a file, since NumPy would unpickle what is in it unless told not to.
    """
    import numpy as np

    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, KeyError, EOFError, RuntimeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no archive of arrays ({error})") from None


def commit(folder: Path, fill: Callable[[Path], None], uncovered: Iterable[str] = ()) -> None:
    """Make `folder` hold what `fill(temporary)` writes, in one step, replacing what was there.

    uncovered: files a user may edit afterwards, left out of the manifest. A failure leaves the previous folder
    untouched and no temporary.
    """
    temporary, previous = _aside(folder, "tmp"), _aside(folder, "old")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        for file in files:
            file.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)  # safetensors writes 0600
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        left_out = set(uncovered)
        entries = {
            p.relative_to(temporary).as_posix(): {"size": p.stat().st_size, "blake2b": digest(p)}
            for p in files
            if p.name not in left_out
        }
        write_file(temporary / MANIFEST, json.dumps({"files": entries}, indent=1) + "\n")
        recover(folder)
        if folder.exists():
            folder.rename(previous)
        temporary.rename(folder)
        _fsync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        recover(folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def recover(folder: Path) -> None:
    """Undo or finish a `commit` that was cut off: bring the previous folder back if the new one is not in place."""
    previous = _aside(folder, "old")
    if previous.exists():
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
        else:
            previous.rename(folder)


def standing(folder: Path) -> Path:
    """Where the newest whole content of `folder` is: in itself or, if a `commit` was cut off halfway, in the previous.

    Only looks, so a reader never disturbs a writer that is at work.
    """
    previous = _aside(Path(os.path.abspath(folder)), "old")
    return previous if not folder.exists() and previous.exists() else folder


def sweep(parent: Path) -> None:
    """Remove the temporaries that a killed process left directly in `parent`, and finish its half-done commits."""
    if not parent.is_dir():
        return
    for path in sorted(parent.iterdir()):
        if path.name.startswith(".") and path.name.endswith(".old") and path.is_dir():
            recover(parent / path.name[1:].removesuffix(".old"))
        elif path.name.startswith(".") and (path.name.endswith(".tmp") or ".tmp-" in path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def verify(folder: Path) -> None:
    """Check every file against the manifest; raises IntegrityError naming the first file that is not as written."""
    manifest = folder / MANIFEST
    try:
        listed = json.loads(manifest.read_bytes())["files"]
        expected = {str(name): (int(entry["size"]), str(entry["blake2b"])) for name, entry in listed.items()}
    except FileNotFoundError:
        raise IntegrityError(f"{folder} has no {MANIFEST}: it was never finished or is no Vitrail folder") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise IntegrityError(f"{manifest} is damaged: it is not the manifest Vitrail wrote") from None
    for name, (size, checksum) in expected.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise IntegrityError(f"{manifest} names a path outside its folder: {name}")
        if not path.is_file():
            raise IntegrityError(f"{path} is missing: the folder is incomplete; use another checkpoint or a backup")
        if path.stat().st_size != size:
            raise IntegrityError(f"{path} has {path.stat().st_size} bytes, {size} were written: it is damaged")
        if digest(path) != checksum:
            raise IntegrityError(f"{path} was changed after it was written (checksum differs): it is damaged")


def storage_error(error: OSError, doing: str) -> TrainingError:
    """An OSError while writing, in words a user can act on."""
    causes = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "the disk quota is used up: free some space",
        errno.EFBIG: "a file would grow beyond the allowed size (ulimit -f)",
        errno.EROFS: "the file system is read-only: choose another --out",
        errno.EACCES: "permission denied: choose another --out",
    }
    return TrainingError(f"{doing}: {causes.get(error.errno or 0, (error.strerror or str(error)).lower())}")


def _aside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
