"""What a teacher said, on disk, for every later student that sees the same images.

A training image is a pure function of (data seed, its position in the endless order) and of the settings that
`lesson_key` names, so what a teacher says of it can be said once: the training seed, the student and its loss have no
part in it. Answers stand in files of consecutive positions, each written whole. The cache only saves time: whatever is
wrong with it, or with where it should stand, the run goes on without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vitrail.durable import cache_folder, write_file
from vitrail.training.readback import ToHost

FILE_BYTES = 2**23
"""Of one file, about."""
DIGEST = 32
VERSION = 1
"""To be raised with every change of what a teacher's images are under the same key."""

Known = np.ndarray[Any, np.dtype[np.bool_]]


def place_for(key: Mapping[str, Any]) -> Path | None:
    """The folder of the answers that a key names; None where there is no home for caches."""
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=16).hexdigest()
    try:
        return cache_folder() / "teacher" / name
    except RuntimeError:
        return None


def make_room(folder: Path, needed: int, limit: int) -> bool:
    """Whether `needed` bytes fit in `limit` beside the other teachers' answers; those not used for longest give way."""
    if needed > limit:
        return False
    others = []
    try:
        for other in folder.parent.iterdir():
            if other != folder and other.is_dir():
                size = sum(file.stat().st_size for file in other.iterdir() if file.is_file())
                others.append((other.stat().st_mtime, size, other))
    except OSError:
        pass  # another process is at work there, or nothing is there yet: what was seen is what counts
    others.sort()
    while others and needed + sum(size for _, size, _ in others) > limit:
        shutil.rmtree(others.pop(0)[2], ignore_errors=True)
    return True


class AnswerCache:
    """Answers by position, float32 of one shape.

    folder: of the key's answers.  batch: positions that are asked for together, beginning at a multiple of it.
    shape: of one answer.  warn: where to say that the disk refused.
    """

    def __init__(
        self, folder: Path, batch: int, shape: tuple[int, ...], warn: Callable[[str], None],
        key: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.batch, self.shape, self.warn = folder, batch, shape, warn
        self.closed = False
        """Whether the disk refused: nothing is kept any more."""
        self._entries = batch * max(1, FILE_BYTES // (4 * batch * max(1, torch.Size(shape).numel())))
        self._number = -1
        self._answers, self._known = torch.zeros(0), np.zeros(0, bool)
        self._changed = False
        self._pending: tuple[int, ToHost] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)  # the latest used is the last to give way
            if key is not None and not (folder / "key.json").is_file():
                write_file(folder / "key.json", json.dumps(key, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            self._refused(error)

    def fits(self, positions: Tensor) -> bool:
        """Whether the positions, on the host, are a batch as it is kept: consecutive, from a multiple of its length."""
        places = positions.numpy()
        whole = len(places) == self.batch and places[0] % self.batch == 0
        return bool(whole and (np.diff(places) == 1).all())

    def recall(self, first: int) -> Tensor | None:
        """The answers (B, ...) of the batch that begins at a position, or None where not all are known."""
        if self.closed:
            return None
        self._settle()
        rows = self._rows(first)
        return self._answers[rows] if self._known[rows].all() else None

    def put(self, first: int, answers: Tensor) -> None:
        """Keep the answers (B, ...) of the batch that begins at a position; who computes them is not waited for."""
        if not self.closed:
            self._settle()
            self._pending = (first, ToHost(answers.detach().float()))

    def flush(self) -> None:
        """Write what is not written yet."""
        self._settle()
        if not self._changed or self.closed:
            return
        self._changed = False
        count = int(self._known.nonzero()[0].max()) + 1  # what comes after is not known yet
        content = save({"answers": self._answers[:count], "known": torch.from_numpy(self._known[:count])})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(self._file(), hashlib.blake2b(content, digest_size=DIGEST).digest() + content)
        except OSError as error:
            self._refused(error)

    def discard(self) -> None:
        """Forget everything, on disk as well."""
        self._pending, self._number, self._changed = None, -1, False
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settle(self) -> None:
        """Take over the last batch. What a GPU does after it is not waited for, and it has come this far long since."""
        if self._pending is not None:
            (first, answers), self._pending = self._pending, None
            rows = self._rows(first)
            self._answers[rows] = answers.get()
            self._known[rows] = True
            self._changed = True

    def _rows(self, first: int) -> slice:
        """Where a batch stands in its file, which is now in memory."""
        number, row = divmod(first, self._entries)
        if number != self._number:
            self.flush()
            self._number = number
            self._answers, self._known = self._read()
        return slice(row, row + self.batch)

    def _read(self) -> tuple[Tensor, Known]:
        answers, known = torch.zeros(self._entries, *self.shape), np.zeros(self._entries, bool)
        try:
            raw = self._file().read_bytes()
            digest, content = raw[:DIGEST], raw[DIGEST:]
            if hashlib.blake2b(content, digest_size=DIGEST).digest() == digest:
                tensors = load(content)
                count = len(tensors["known"])
                answers[:count], known[:count] = tensors["answers"], tensors["known"].numpy()
        except (OSError, SafetensorError, KeyError, RuntimeError, ValueError):
            known[:] = False  # not there, damaged, or of another shape: said anew
        return answers, known

    def _file(self) -> Path:
        return self.folder / f"{self._number:06d}.answers"

    def _refused(self, error: OSError) -> None:
        self.closed = True
        self.warn(f"the teacher's answers cannot be kept in {self.folder}: {(error.strerror or str(error)).lower()}")
