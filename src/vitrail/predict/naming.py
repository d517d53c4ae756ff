"""Names of files made from inputs: short, and no two the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

LONGEST = 60
"""Characters of an input's name that are kept: file systems allow 255 bytes, and a suffix follows."""


class FileNames:
    """Gives out each name once: photo, photo-2, photo-3."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def of(self, source: str, ending: str = "") -> str:
        """A name, without its extension, for what is made of an input given as `source`."""
        return self._unused(f"{Path(source).stem[:LONGEST]}{ending}")

    def _unused(self, name: str) -> str:
        self._taken[name] += 1
        return name if self._taken[name] == 1 else self._unused(f"{name}-{self._taken[name]}")
